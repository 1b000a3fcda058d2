//go:build linux

package stack

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
)

// The addresses of the websites of StartSites. A test reaches them under a documented name, by connect_to.
const (
	BlogIP   = "127.0.8.1" // nginx before Apache, split as for WordPress; Apache itself on port 8080
	CachedIP = "127.0.8.2" // the same behind Varnish
	AppIP    = "127.0.8.3" // an application with a login, behind nginx
	DualIP   = "127.0.8.4" // a page that ::1 serves too
	BareIP   = "127.0.8.5" // where www.DOMAIN leads to DOMAIN
)

// Sites is what StartSites started.
type Sites struct {
	Nginx, Apache, Varnish *Server
	App                    *App
	PasswordFile           string // holds the password of "editor" for the blog and of "member" for the application

	data any
}

// StartSites starts the websites: a blog (nginx before Apache), the blog behind Varnish, and an application.
func (s *Stack) StartSites(ctx context.Context) error {
	password := newPassword()
	sites := &Sites{PasswordFile: s.path("sites.password")}
	sites.data = struct{ Dir, Documented, Blog, Cached, App, Dual, Bare, Password, Session string }{
		s.Dir, Documented, BlogIP, CachedIP, AppIP, DualIP, BareIP, password, newPassword()}
	errs := []error{os.MkdirAll(s.path("sites"), 0o755), os.WriteFile(sites.PasswordFile, []byte(password+"\n"), 0o600)}
	errs = append(errs, fs.WalkDir(templates, "etc/sites", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(s.path(name), 0o755)
		}
		return s.render(name, s.path(name), sites.data)
	}), os.Chmod(s.path("etc/sites/wp-login"), 0o755))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	sites.Apache = s.server("apache", apacheProgram, "-D", "FOREGROUND", "-f", s.path("etc/sites/apache.conf"))
	sites.Apache.ready = append(sites.Apache.ready, listening("tcp", BlogIP+":8080"))
	sites.Varnish = s.server("varnish", varnishProgram, "-F", "-j", "none", "-f", s.path("etc/sites/varnish.vcl"), "-a", CachedIP+":6081",
		"-n", s.path("sites/varnish"), "-s", "malloc,16m")
	sites.Varnish.ready = append(sites.Varnish.ready, listening("tcp", CachedIP+":6081"))
	sites.Nginx = s.server("sites", "/usr/sbin/nginx", "-c", s.path("etc/sites/nginx.conf"), "-e", "stderr")
	for _, address := range []string{BlogIP, CachedIP, AppIP, DualIP, BareIP} {
		sites.Nginx.ready = append(sites.Nginx.ready, listening("tcp", net.JoinHostPort(address, "443")))
	}
	s.Sites = sites
	var err error
	if sites.App, err = startApp(ctx, AppIP+":8080", strings.TrimSpace(password), s.path("mail/"+Requests+"/Maildir")); err != nil {
		return err
	}
	return together([]*Server{sites.Apache, sites.Varnish, sites.Nginx}, func(server *Server) error { return server.Start(ctx) })
}

// Reconfigure has the websites' nginx or Varnish, whichever has this file beneath etc/sites, run with old replaced by new, until
// the stack renders it again by Restore.
func (s *Stack) Reconfigure(ctx context.Context, server *Server, file, old, replacement string) error {
	name := "etc/sites/" + file
	content, err := os.ReadFile(s.path(name))
	if err != nil {
		return err
	}
	changed := strings.ReplaceAll(string(content), old, replacement)
	if changed == string(content) {
		return errors.New(name + " has no " + old)
	}
	return errors.Join(server.Stop(), os.WriteFile(s.path(name), []byte(changed), 0o644), server.Start(ctx))
}

// Restore undoes Reconfigure.
func (s *Stack) Restore(ctx context.Context, server *Server, file string) error {
	name := "etc/sites/" + file
	return errors.Join(server.Stop(), s.render(name, s.path(name), s.Sites.data), server.Start(ctx))
}
