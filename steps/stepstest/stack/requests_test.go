//go:build linux

package stack_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// ran runs a scenario with a configuration and compares what it says of its failure; want is empty when it passes.
func ran(t *testing.T, config, scenario, want string) {
	t.Helper()
	code, out := execute(t, stepwatch, "run", "--config", write(t, "stepwatch.yml", config), write(t, "a.feature", "Feature: F\n  Scenario: S\n"+scenario))
	if want == "" && code != 0 || want != "" && (code == 0 || !strings.Contains(strings.Join(strings.Fields(out), " "), want)) {
		t.Errorf("exit code %d, wanted %q:\n%s", code, want, out)
	}
}

// TestFilesOfNginx changes files at nginx and downloads them, with client certificates that are right and wrong.
func TestFilesOfNginx(t *testing.T) {
	s := sites(t)
	file := []byte(strings.Repeat("stepwatch\n", 10000))
	if err := os.WriteFile(filepath.Join(servers.Dir, "sites/files/report.pdf"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	with := func(client string) string {
		if client == "" {
			return at(t, stack.StaffIP)
		}
		clients := fmt.Sprintf("tls: {clients: [{hosts: [www.%s], certificate: %s}], ", stack.Documented, client)
		return strings.Replace(at(t, stack.StaffIP), "tls: {", clients, 1)
	}
	const site = "https://www." + stack.Documented
	get := "    When I go to \"" + site + "/report.pdf\"\n"
	ran(t, with(s.Client), "    When I download \""+site+"/report.pdf\"\n"+
		"    Then the download should be between 90 KB and 100 KB\n"+
		fmt.Sprintf("    And the download should have the SHA-256 \"%x\"\n", sha256.Sum256(file))+
		"    And the download should be of type \"application/pdf\"\n    And the download should be named \"report.pdf\"\n", "")
	ran(t, with(s.Client), "    When I send PUT to \""+site+"/new.json\"\n      \"\"\"json\n      {\"a\": 1}\n      \"\"\"\n    Then the response status should be 201\n"+
		"    When I go to \"/new.json\"\n    Then the JSON at \"$.a\" should be \"1\"\n    When I send HEAD to \"/new.json\"\n    Then the \"Content-Length\" header should be \"8\"\n"+
		"    When I send DELETE to \"/new.json\"\n    Then the response status should be 204\n    When I try to go to \"/new.json\"\n    Then the response status should be 404\n", "")
	ran(t, with(s.Client), "    When I send POST to \""+site+"/report.pdf\"\n", "POST "+site+"/report.pdf: status 405")
	ran(t, with(s.Client), "    When I go to \""+site+"/report.pdf\" over HTTP/2\n    Then the response should use HTTP/2\n    When I go to \""+site+"/report.pdf\" over HTTP/1.1\n    Then the response should use HTTP/1.1\n", "")
	ran(t, at(t, stack.AppIP), "    When I go to \""+site+"/\" over HTTP/2\n", "the server does not speak HTTP/2")
	const shown = "status 400 Bad Request: it got the client certificate "
	ran(t, with(""), get, "status 400 Bad Request: it asks for a client certificate, and tls.clients in stepwatch.yml has none for www."+stack.Documented)
	ran(t, with(s.EndedClient), get, shown+`"ended-client" (`+s.EndedClient+`), which expired on`)
	ran(t, with(s.StrangeClient), get, shown+`"strange-client" (`+s.StrangeClient+`), whose issuer "stepwatch test stranger" is not one of the authorities that it names`)
}

// TestProxiesOfApache uses an open proxy, one that requires a login and one that refuses.
func TestProxiesOfApache(t *testing.T) {
	sites(t)
	through := func(proxy string) string { return at(t, "") + "web: {proxy: \"http://" + proxy + "\"}\n" }
	const (
		secure = "    When I go to \"https://www." + stack.Documented + "/\"\n    Then the request should succeed\n"
		plain  = "    When I go to \"http://www." + stack.Documented + "/\"\n    Then the request should succeed\n"
	)
	ran(t, through(stack.OpenProxy), secure, "")
	ran(t, through(stack.OpenProxy), plain, "")
	ran(t, through(stack.OpenProxy), strings.ReplaceAll(secure, "www.", "no-such-name."), "it cannot reach the server: 502")
	const wanted = "it requires a login (407 Proxy Authentication Required): set web.proxy_login"
	ran(t, through(stack.LoginProxy), secure, wanted)
	ran(t, through(stack.LoginProxy), plain, wanted)
	loggedIn := func(username string) string {
		return strings.Replace(through(stack.LoginProxy), "\"}\n", fmt.Sprintf("\", proxy_login: {username: %s, password: {file: %s}}}\n", username, servers.Sites.PasswordFile), 1)
	}
	ran(t, loggedIn("monitor"), secure+plain, "")
	ran(t, loggedIn("stranger"), secure, "it refused the login (web.proxy_login in stepwatch.yml): 407")
	ran(t, through(stack.ClosedProxy), secure, "it refused: 403 Forbidden")
}
