package steps

import "net/url"

func init() { RegisterHostSettings("api", func() Block { return new(apiSettings) }) }

// API is an HTTP API of a host.
type API struct {
	URL   string // its root: "https://mail.example.org/api"
	Token string // name of the secret that is sent as "Authorization: Bearer"; empty sends none
}

// apiSettings is the section api of stepwatch.yml.
type apiSettings struct {
	URL   string        `yaml:"url" doc:"its root: https://mail.example.org/api"`
	Token *SecretSource `yaml:"token" doc:"sent as \"Authorization: Bearer\""`
}

// Validate implements Block.
func (a *apiSettings) Validate(env *Env) {
	if u, err := url.Parse(a.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		env.Refuse("url", "%q is not a URL: write it as https://mail.example.org/api", a.URL)
	}
	env.Host.Set(&API{URL: a.URL, Token: env.Secret("token", a.Token)})
}
