//go:build linux

package stack

import (
	"context"
	"crypto/sha1" //nolint:gosec // as Apache wants it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The addresses of the websites of StartSites. A test reaches them under a documented name, by connect_to.
const (
	BlogIP   = "127.0.8.1" // nginx before Apache, split as for WordPress; Apache itself on port 8080
	CachedIP = "127.0.8.2" // the same behind Varnish
	AppIP    = "127.0.8.3" // an application with a login, behind nginx
	DualIP   = "127.0.8.4" // a page that ::1 serves too
	BareIP   = "127.0.8.5" // where www.DOMAIN leads to DOMAIN
	StaffIP  = "127.0.8.6" // files, for those alone who show a client certificate

	OpenProxy   = StaffIP + ":3128"
	LoginProxy  = StaffIP + ":3129" // for those who log in
	ClosedProxy = StaffIP + ":3130" // for nobody
)

// Sites is what StartSites started.
type Sites struct {
	Nginx, Apache, Varnish *Server
	App                    *App
	PasswordFile           string // holds the password of "editor" for the blog, of "member" for the application and of "monitor" for LoginProxy

	// Client certificates for StaffIP, each a file with its key: one that is right, one that has ended, one of nobody's.
	Client, EndedClient, StrangeClient string

	data any
}

// StartSites starts the websites: a blog (nginx before Apache), the blog behind Varnish, and an application.
func (s *Stack) StartSites(ctx context.Context) error {
	password := newPassword()
	sites := &Sites{PasswordFile: s.path("sites.password")}
	sites.data = struct{ Dir, Documented, Blog, Cached, App, Dual, Bare, Staff, Password, Session string }{
		s.Dir, Documented, BlogIP, CachedIP, AppIP, DualIP, BareIP, StaffIP, password, newPassword()}
	errs := []error{os.MkdirAll(s.path("sites/files"), 0o755), os.Chmod(s.path("sites/files"), 0o777), // nginx writes there as another user
		os.WriteFile(sites.PasswordFile, []byte(password+"\n"), 0o600), s.certifyStaff(sites), s.admitToProxy(password), s.printYearbook()}
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
	sites.Apache.ready = append(sites.Apache.ready, listening("tcp", BlogIP+":8080"), listening("tcp", ClosedProxy))
	sites.Varnish = s.server("varnish", varnishProgram, "-F", "-j", "none", "-f", s.path("etc/sites/varnish.vcl"), "-a", CachedIP+":6081",
		"-n", s.path("sites/varnish"), "-s", "malloc,16m")
	sites.Varnish.ready = append(sites.Varnish.ready, listening("tcp", CachedIP+":6081"))
	sites.Nginx = s.server("sites", "/usr/sbin/nginx", "-c", s.path("etc/sites/nginx.conf"), "-e", "stderr")
	for _, address := range []string{BlogIP, CachedIP, AppIP, DualIP, BareIP, StaffIP} {
		sites.Nginx.ready = append(sites.Nginx.ready, listening("tcp", net.JoinHostPort(address, "443")))
	}
	s.Sites = sites
	var err error
	if sites.App, err = startApp(ctx, AppIP+":8080", strings.TrimSpace(password), s.path("mail/"+Requests+"/Maildir")); err != nil {
		return err
	}
	return together([]*Server{sites.Apache, sites.Varnish, sites.Nginx}, func(server *Server) error { return server.Start(ctx) })
}

// admitToProxy lets "monitor" log in at LoginProxy.
func (s *Stack) admitToProxy(password string) error {
	sum := sha1.Sum([]byte(strings.TrimSpace(password))) //nolint:gosec // as Apache wants it
	return os.WriteFile(s.path("sites/proxy.htpasswd"), []byte("monitor:{SHA}"+base64.StdEncoding.EncodeToString(sum[:])+"\n"), 0o644)
}

// printYearbook makes the file that the blog gives out.
func (s *Stack) printYearbook() error {
	dir := s.path("etc/sites/static/wp-content")
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "yearbook.pdf"), append([]byte("%PDF-1.4\n"), make([]byte, 200<<10)...), 0o644))
}

// certifyStaff makes the authority of the client certificates, and the certificates.
func (s *Stack) certifyStaff(sites *Sites) error {
	staff, err := newAuthority("stepwatch test staff", nil)
	if err != nil {
		return err
	}
	stranger, err := newAuthority("stepwatch test stranger", nil)
	if err != nil {
		return err
	}
	errs := []error{os.WriteFile(s.path("sites/staff.pem"), staff.pem(), 0o644)}
	now := time.Now()
	for _, c := range []struct {
		file   *string
		name   string
		issuer *authority
		end    time.Time
	}{{&sites.Client, "client", staff, now.AddDate(0, 1, 0)}, {&sites.EndedClient, "ended-client", staff, now.AddDate(0, 0, -1)}, {&sites.StrangeClient, "strange-client", stranger, now.AddDate(0, 1, 0)}} {
		content, err := c.issuer.sign(&x509.Certificate{Subject: pkix.Name{CommonName: c.name}, NotBefore: now.AddDate(0, -1, 0), NotAfter: c.end,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		*c.file = s.path("sites/" + c.name + ".pem")
		errs = append(errs, err, os.WriteFile(*c.file, content, 0o600))
	}
	return errors.Join(errs...)
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
