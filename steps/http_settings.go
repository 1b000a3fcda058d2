package steps

import (
	"net/url"
	"strings"
	"time"
)

func init() { RegisterSettings("web", func() Block { return new(webSettings) }) }

// The limits of Web where it sets none.
const (
	DefaultBodyLimit     = 10 << 20 // bytes of a page
	DefaultDownloadLimit = 1 << 30  // bytes of a file
	DefaultPatience      = 10 * time.Second
)

// Web is how websites are visited. The zero value visits them without a proxy, with the default limits.
type Web struct {
	BodyLimit     int64 // of what is read of one page, in bytes after decompression; zero means DefaultBodyLimit
	DownloadLimit int64 // of what is read of one file that is downloaded, in bytes; zero means DefaultDownloadLimit

	// Proxy is what websites are visited through over HTTP, an http URL; nil means none. A browser has its own.
	Proxy *url.URL

	// ProxyLogin is how we log in at Proxy, and a browser that has the same; nil when it asks for no login.
	ProxyLogin *ProxyLogin

	// Patience is how long a step in a browser waits for something to come up on the page; zero means DefaultPatience.
	Patience time.Duration

	// CucumberNagios gives "I should see" its old meaning: a regular expression over the page's source.
	CucumberNagios bool
}

// ProxyLogin is a name and password for a proxy (RFC 9110 section 11.7), sent by basic authentication (RFC 7617).
type ProxyLogin struct {
	Username string
	Password string // name of the secret, for Secrets; never the password itself
}

// webSettings is that part of stepwatch.yml.
type webSettings struct {
	BodyLimit      string         `yaml:"body_limit" doc:"of one page, decompressed; default: 10 MB"`
	DownloadLimit  string         `yaml:"download_limit" doc:"of one file that is downloaded; default: 1 GB"`
	Proxy          string         `yaml:"proxy" doc:"that websites are visited through; default: none"`
	ProxyLogin     *loginSettings `yaml:"proxy_login" doc:"sent to the proxy by basic authentication; default: none"`
	Wait           string         `yaml:"wait" doc:"how long a step in a browser waits for something to come up; default: 10s"`
	CucumberNagios bool           `yaml:"cucumber_nagios" doc:"\"I should see\" is a regular expression over the page's source"`
}

type loginSettings struct {
	Username string        `yaml:"username" doc:"without a colon"`
	Password *SecretSource `yaml:"password" doc:"of the proxy's user"`
}

// Validate implements Block.
func (s *webSettings) Validate(env *Env) {
	known := Web{BodyLimit: env.Size("body_limit", s.BodyLimit), DownloadLimit: env.Size("download_limit", s.DownloadLimit),
		Patience: env.Duration("wait", s.Wait, DefaultPatience), CucumberNagios: s.CucumberNagios}
	if s.Proxy != "" {
		proxy, err := url.Parse(s.Proxy)
		if err != nil || proxy.Scheme != "http" || proxy.Host == "" || proxy.User != nil {
			env.Refuse("proxy", "it is no http URL without a login: write it as http://proxy.example.org:3128")
		}
		known.Proxy = proxy
	}
	switch l := s.ProxyLogin; {
	case l == nil:
	case known.Proxy == nil:
		env.Refuse("proxy_login", "is for web.proxy, and there is none")
	case l.Username == "" || strings.Contains(l.Username, ":") || l.Password == nil:
		env.Refuse("proxy_login", "needs a username without a colon, and a password: "+
			"write it as {username: stepwatch, password: {file: proxy.password}}")
	default:
		known.ProxyLogin = &ProxyLogin{Username: l.Username, Password: env.Secret("proxy_login.password", l.Password)}
	}
	env.Target.Set(known)
}
