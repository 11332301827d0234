"""Completion scripts for bash, zsh and fish, which call `mcp __complete`.

@NAMES@ are the program names that they complete. They call the program as it was typed, so that the candidates fit the
version in use.
"""

BASH = r"""# Completion of mcp for bash. In ~/.bashrc: source <(mcp completion bash)
_mcp_complete() {
    local program=${1/#\~\//$HOME/} current=${COMP_WORDS[COMP_CWORD]} line IFS=$'\n'
    COMPREPLY=()
    while read -r line; do
        case $line in
            :files) compopt -o filenames; COMPREPLY+=($(compgen -f -- "$current")) ;;
            :folders) compopt -o filenames; COMPREPLY+=($(compgen -d -- "$current")) ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <("$program" __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null </dev/null)
    case ${COMPREPLY[0]-} in */) compopt -o nospace ;; esac
}
complete -F _mcp_complete @NAMES@
"""

ZSH = r"""#compdef @NAMES@
# Completion of mcp for zsh. In ~/.zshrc: source <(mcp completion zsh), or in a folder of $fpath as _mcp.
_mcp() {
    local program=${(Q)words[1]/#\~\//$HOME/} line value
    local -a described folders
    for line in ${(f)"$("$program" __complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null </dev/null)"}; do
        value=${line%%$'\t'*}
        case $value in
            :files) _files ;;
            :folders) _files -/ ;;
            */) folders+=("$value") ;;
            *) described+=("${value//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    (( $#folders )) && compadd -S '' -- $folders
    (( $#described )) && _describe -t values mcp described
}
if [[ ${funcstack[1]} == _mcp ]]; then
    _mcp "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _mcp @NAMES@
fi
"""

FISH = r"""# Completion of mcp for fish. In ~/.config/fish/config.fish: mcp completion fish | source
function __mcp_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    for line in ($program __complete fish $words[2..-1] "$current" 2>/dev/null </dev/null)
        switch $line
            case :files
                __fish_complete_path "$current"
            case :folders
                __fish_complete_directories "$current" ''
            case '*'
                printf '%s\n' $line
        end
    end
end
for name in @NAMES@
    complete -c $name -e
    complete -c $name -f -a '(__mcp_complete)'
end
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(shell: str, names: list[str]) -> str:
    """Return the script of a shell in SCRIPTS, for programs of these names."""
    return SCRIPTS[shell].replace("@NAMES@", " ".join(names))
