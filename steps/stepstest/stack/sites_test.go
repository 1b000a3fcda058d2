//go:build linux

package stack_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// sites starts the websites, once for all tests.
func sites(t *testing.T) *stack.Sites {
	t.Helper()
	s := need(t)
	needPackage(t, "apache2")
	needPackage(t, "varnish")
	logs(t, "sites", "apache", "varnish")
	if s.Sites == nil {
		if err := s.StartSites(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s.Sites
}

// at is a stepwatch.yml with which the documented names lead to the website at this address.
func at(t *testing.T, ip string) string {
	t.Helper()
	config := readLog(t, filepath.Join(servers.Dir, "stepwatch.yml")) + "connect_to:\n"
	for _, name := range []string{stack.Documented, "www." + stack.Documented} {
		for _, port := range []string{"80", "443"} {
			if ip != "" {
				config += fmt.Sprintf("  %q: %q\n", name+":"+port, ip+":"+port)
			}
		}
	}
	password := servers.Sites.PasswordFile
	return config + fmt.Sprintf("secrets:\n  editor: {file: %s}\n  member: {file: %[1]s}\n", password)
}

// app is an application with a fault.
func app(fault stack.AppFault) fault {
	return func(context.Context) (func() error, error) {
		servers.Sites.App.Break(fault)
		return func() error { servers.Sites.App.Break(stack.Sound); return nil }, nil
	}
}

// reconfigured is a server of the websites with something else in its configuration.
func reconfigured(server *stack.Server, file, old, replacement string) fault {
	return func(ctx context.Context) (func() error, error) {
		return func() error { return servers.Restore(context.WithoutCancel(ctx), server, file) }, servers.Reconfigure(ctx, server, file, old, replacement)
	}
}

// changed is a file of the blog with something else in it.
func changed(file, old, replacement string) fault {
	return func(context.Context) (func() error, error) {
		path := filepath.Join(servers.Dir, "etc/sites", file)
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		now := strings.ReplaceAll(string(content), old, replacement)
		return func() error { return os.WriteFile(path, content, 0o644) }, os.WriteFile(path, []byte(now), 0o644)
	}
}

// TestShippedFeaturesOfTheWeb runs each shipped feature against a website of its kind, breaks what it watches, and mends it.
func TestShippedFeaturesOfTheWeb(t *testing.T) {
	s := sites(t)
	type breakage struct {
		fault     fault
		step, why string
	}
	const (
		nginx = "nginx.conf"
		wp    = `location ~ ^/(wp-login\.php|wp-admin(/|$)) { return 301 https://$host$request_uri; }`
	)
	rows := map[string]struct {
		ip     string
		broken []breakage
	}{
		"homepage": {"", []breakage{{stopped(servers.Nginx), `I go to "https://www.example.org/"`, "reason connect, blame web"}}},
		"cache": {stack.CachedIP, []breakage{
			{reconfigured(s.Varnish, "varnish.vcl", "unset req.http.Cookie;", "return (pass);"), "the page should come from a cache", "reason unexpected, blame web"},
			{stopped(s.Apache), `I go to "https://www.example.org/wp-login.php"`, "reason http_status, blame web"},
			{stopped(s.Varnish), `I go to "https://www.example.org/"`, "reason http_status, blame web"},
		}},
		"admin": {stack.AppIP, []breakage{
			{app(stack.OpenDefaults), `I should see "Wrong name or password"`, "reason unexpected, blame web"},
			{reconfigured(s.Nginx, nginx, "listen "+stack.AppIP+":80;\n    return 301", "listen "+stack.AppIP+":80;\n    return 403; return 301"), `I go to "http://www.example.org/admin"`, "reason http_status, blame web"},
		}},
		"redirects": {stack.BareIP, []breakage{
			{reconfigured(s.Nginx, nginx, "return 301 https://example.org$request_uri;", "root "+filepath.Join(servers.Dir, "etc/html")+";"), `I should be on "https://example.org/"`, "reason unexpected, blame web"},
			{reconfigured(s.Nginx, nginx, "return 301 ", "return 302 "), `I should have been redirected from "https://www.example.org/" with 301`, "reason redirect, blame web"},
		}},
		"wordpress": {stack.BlogIP, []breakage{
			{reconfigured(s.Nginx, nginx, wp, ""), `I should have been redirected from "http://www.example.org`, "reason redirect, blame web"},
			{stopped(s.Apache), `I go to "http://www.example.org/"`, "reason http_status, blame web"},
			{reconfigured(s.Nginx, nginx, "location /wp-content/ {", "location /elsewhere/ {"), `I go to "http://www.example.org/wp-content/style.css"`, "reason http_status, blame web"},
			{changed("wp-login", "<h1>Dashboard</h1>", "<h1>Updating</h1>"), `I should see the heading "Dashboard"`, "reason unexpected, blame web"},
		}},
		"login": {stack.AppIP, []breakage{
			{app(stack.WrongPage), `I should see the heading "Members"`, "reason unexpected, blame web"},
			{app(stack.DeadScript), `I should see "42 documents" within 5s`, "reason unexpected, blame web"},
			{app(stack.NoFrame), `I should see "12 pounds"`, "reason unexpected, blame web"},
		}},
		"links": {stack.BlogIP, []breakage{
			{changed("blog/about.html", `href="/"`, `href="/gone"`), `no link of "https://www.example.org/" is broken`, "reason http_status, blame web"},
			{changed("blog/index.html", `src="/wp-content/`, `src="http://www.example.org/wp-content/`), `no link of "https://www.example.org/" is broken`, "reason unexpected, blame web"},
		}},
		"downloads": {stack.BlogIP, []breakage{
			{reconfigured(s.Nginx, nginx, "location /wp-content/ {", "location = /wp-content/yearbook.pdf { return 302 /; } location /wp-content/ {"), `I download the file behind "Yearbook as PDF"`, "reason unexpected, blame web"},
			{changed("static/wp-content/yearbook.pdf", "\x00", ""), "the download should be between 100 KB and 20 MB", "reason unexpected, blame web"},
		}},
		"mail-to-web": {stack.AppIP, []breakage{
			{app(stack.NoMail), `the message appears on "https://www.example.org/requests"`, "reason not_received, blame web"},
			{stopped(s.Nginx), `the message appears on "https://www.example.org/requests"`, "reason connect, blame web"},
		}},
		"ipv6": {"", []breakage{
			{reconfigured(s.Nginx, nginx, "listen [::1]:443 ssl;", "listen [::1]:8443 ssl;"), `I connect to "dual.example.org:443" over IPv6`, "reason connect, blame"},
		}},
	}
	shipped, err := filepath.Glob("../../../features/web/*.feature")
	if err != nil || len(shipped) == 0 {
		t.Fatalf("%v: %q", err, shipped)
	}
	for _, path := range shipped {
		name := strings.TrimSuffix(filepath.Base(path), ".feature")
		t.Run(name, func(t *testing.T) {
			row, found := rows[name]
			if !found {
				t.Fatal("nothing is known that makes it fail: add it")
			}
			content := readLog(t, path)
			if strings.Contains(content, "@browser") {
				needPackage(t, "chromium-headless-shell")
			}
			if name == "ipv6" {
				content = strings.ReplaceAll(content, "www.example.org", stack.Dual)
			}
			content = strings.ReplaceAll(content, "within 5 minutes", "within 4s")
			config, feature := write(t, "stepwatch.yml", at(t, row.ip)), write(t, name+".feature", content)
			passes := func(when string) {
				if code, out := execute(t, stepwatch, "run", "--config", config, feature); code != 0 {
					t.Errorf("%s: exit code %d:\n%s", when, code, out)
				}
			}
			passes("sound")
			for _, b := range row.broken {
				b.fault.while(t, func() {
					code, out := execute(t, stepwatch, "run", "--config", config, feature)
					if !failsSo(out, b.step, b.why) || code != 1 {
						t.Errorf("exit code %d, want 1, and of %q %q:\n%s", code, b.step, b.why, out)
					}
				})
				if t.Failed() {
					return
				}
			}
			passes("mended")
		})
	}
}
