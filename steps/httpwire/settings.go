package httpwire

import (
	"errors"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
)

func init() { steps.RegisterSettings("web", func() steps.Block { return new(webSettings) }) }

// DefaultPatience is how long a step in a browser waits by default.
const DefaultPatience = 10 * time.Second

// Web says how websites are visited. The zero value uses no proxy and the default limits.
type Web struct {
	BodyLimit     int64 // bytes read of one page, after decompression; zero means the default
	DownloadLimit int64 // bytes read of one downloaded file; zero means the default

	// Proxy is the http URL of the proxy for visits over HTTP; nil means none. A browser has its own.
	Proxy *address.URL

	// ProxyLogin is the login at Proxy, also for a browser with the same proxy; nil if it needs no login.
	ProxyLogin *ProxyLogin

	// Patience is how long a step in a browser waits for something to appear on the page; zero means DefaultPatience.
	Patience time.Duration

	// CucumberNagios makes "I should see" match a regular expression against the page's source, as in cucumber-nagios.
	CucumberNagios bool

	// Base is the address against which relative addresses of steps resolve, unless a scenario has its own; empty means the
	// current page.
	Base string
}

// CheckBase returns an error unless an address can be the base of relative addresses: that of a site, without a login.
func CheckBase(text string) error {
	u, err := address.Parse(text)
	if err != nil || !u.IsWeb() || u.User() != nil {
		return errors.New("must be the http or https address of a site without a login: write it as https://www.example.org/")
	}
	return nil
}

// ProxyLogin is a user name and password for a proxy (RFC 9110 section 11.7), sent as basic authentication (RFC 7617).
type ProxyLogin struct {
	Username string
	Password string // name of the secret, for Secrets; never the password itself
}

// webSettings is the section web of stepwatch.yml.
type webSettings struct {
	BodyLimit      string         `yaml:"body_limit" doc:"of one page, decompressed; default: 10 MB"`
	DownloadLimit  string         `yaml:"download_limit" doc:"of one downloaded file; default: 1 GB"`
	Proxy          string         `yaml:"proxy" doc:"proxy for visits to websites; default: none"`
	ProxyLogin     *loginSettings `yaml:"proxy_login" doc:"sent to the proxy as basic authentication; default: none"`
	Wait           string         `yaml:"wait" doc:"how long a step in a browser waits for something to appear; default: 10s"`
	Base           string         `yaml:"base" doc:"address that relative addresses in steps resolve against, such as https://www.example.org/; @base:URL and --base override it; default: the current page"`
	CucumberNagios bool           `yaml:"cucumber_nagios" doc:"\"I should see\" matches a regular expression against the page's source"`
}

type loginSettings struct {
	Username string              `yaml:"username" doc:"without a colon"`
	Password *steps.SecretSource `yaml:"password" doc:"of the proxy's user"`
}

// Validate implements Block.
func (s *webSettings) Validate(env *steps.Env) {
	known := Web{BodyLimit: env.Size("body_limit", s.BodyLimit), DownloadLimit: env.Size("download_limit", s.DownloadLimit),
		Patience: env.Duration("wait", s.Wait, DefaultPatience), CucumberNagios: s.CucumberNagios, Base: s.Base}
	if s.Base != "" {
		if err := CheckBase(s.Base); err != nil {
			env.Refuse("base", "%v", err)
		}
	}
	if s.Proxy != "" {
		proxy, err := address.Parse(s.Proxy)
		if err != nil || proxy.Scheme != "http" || proxy.User() != nil {
			env.Refuse("proxy", "must be an http URL without a login: write it as http://proxy.example.org:3128")
		}
		known.Proxy = proxy
	}
	switch l := s.ProxyLogin; {
	case l == nil:
	case known.Proxy == nil:
		env.Refuse("proxy_login", "needs web.proxy, which is not set")
	case l.Username == "" || strings.Contains(l.Username, ":") || l.Password == nil:
		env.Refuse("proxy_login", "needs a username without a colon, and a password: "+
			"write it as {username: stepwatch, password: {file: proxy.password}}")
	default:
		known.ProxyLogin = &ProxyLogin{Username: l.Username, Password: env.Secret("proxy_login.password", l.Password)}
	}
	env.Target.Set(known)
}
