"""Management of nodes over ssh: provision, upgrade, doctor."""
