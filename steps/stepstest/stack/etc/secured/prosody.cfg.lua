pidfile = "{{.Dir}}/data/pid"
data_path = "{{.Dir}}/data"
log = "*console"
interfaces = { "{{.IP}}" }
modules_enabled = { "tls", "saslauth", "dialback" }
c2s_require_encryption = true
ssl = { key = "{{.Chain}}", certificate = "{{.Chain}}" }
VirtualHost "{{.Host}}"
ssl = { key = "{{.Chain}}", certificate = "{{.Chain}}" }
