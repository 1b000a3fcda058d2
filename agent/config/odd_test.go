package config

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMistakesAreNamedAtTheirPlaceInWords holds for files that YAML allows and a configuration does not.
func TestMistakesAreNamedAtTheirPlaceInWords(t *testing.T) {
	var levels strings.Builder
	levels.WriteString("x0: &a0 {smtp: mail}\n")
	for i := range 40 {
		fmt.Fprintf(&levels, "x%d: &a%d {<<: [*a%d, *a%d]}\n", i+1, i+1, i, i)
	}
	var lists strings.Builder
	lists.WriteString("x0: &a0 [a, a]\n")
	for i := range 40 {
		fmt.Fprintf(&lists, "x%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	for text, want := range map[string]string{
		levels.String():                         "what is below here, with its aliases and merge keys filled in, has more than 100000 values, the limit: write them out",
		lists.String():                          "what is below here, with its aliases and merge keys filled in, has more than 100000 values, the limit: write them out",
		"web: &a {wait: *a}\n":                  "the alias *a contains itself",
		"listen: 127.0.0.1:1\n---\nname: x\n":   "stepwatch.yml:3:5: a second document begins above this line (---)",
		"evidence: {keep: 1.9}":                 "stepwatch.yml:1:18: evidence.keep is 1.9, want a whole number",
		"workers: .inf":                         "stepwatch.yml:1:10: workers is .inf, want a whole number",
		"workers: .nan":                         "stepwatch.yml:1:10: workers is .nan, want a whole number",
		"evidence: {keep: &a 2.5}\nworkers: *a": "evidence.keep is 2.5, want a whole number",
		"name: a\nname: b":                      "stepwatch.yml:2:1: name is set twice: it is already set at line 1",
		"hosts:\n  mx1:\n    queue: 5":          "stepwatch.yml:3:12: hosts.mx1.queue is a whole number, want a mapping",
		"hosts:\n  mx1:\n    address: [a]":      "stepwatch.yml:3:14: hosts.mx1",
		"hosts:\n  mx:\n    address: a\n  mx.example.org:\n    address: a b":    "stepwatch.yml:5: hosts.mx.example.org.address: ",
		"hosts:\n  \"a[0]\":\n    address: a b\n  a:\n    address: c":           "stepwatch.yml:3: hosts.a[0].address: ",
		"tls:\n  ca:\n    - absent.pem":                                         "stepwatch.yml:3: tls.ca[0]: ",
		"accounts:\n  a.b:\n    address: a@b\n    password: {}\n  a:\n    b: 1": "stepwatch.yml:",
		"secrets:\n  \"\\0accounts.a.password\": {env: X}":                      "is not a name for a secret",
	} {
		began := time.Now()
		_, err := Parse("stepwatch.yml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.120s:\n got %v\nwant %s", text, err, want)
			continue
		}
		for _, word := range []string{"Go ", "unmarshal", "struct", "another type", "int64", "\x00"} {
			if strings.Contains(err.Error(), word) {
				t.Errorf("%.60s: %v", text, err)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%.60s: it took %s", text, took)
		}
	}
}

func TestAByteOrderMarkIsNoSetting(t *testing.T) {
	c, err := Parse("stepwatch.yml", []byte("\ufefflisten: 127.0.0.1:9000\n---\n"))
	if err != nil || c.Listen != "127.0.0.1:9000" {
		t.Errorf("got %+v, %v", c, err)
	}
}

// TestNoSecretNameReachesAPassword holds that a scenario cannot name the password of an account, and that a secret of the
// same name is another one.
func TestNoSecretNameReachesAPassword(t *testing.T) {
	t.Setenv("ACCOUNT", "of the account")
	t.Setenv("SECRET", "of the secret")
	const account = "accounts:\n  a: {address: a@example.org, smtp: mail, password: {env: ACCOUNT}}\n"
	for text, want := range map[string]string{account: "", account + "secrets: {accounts.a.password: {env: SECRET}}\n": "of the secret"} {
		c, err := Parse("stepwatch.yml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		secret, err := c.Secrets.Secret(context.Background(), "accounts.a.password")
		if (err != nil) != (want == "") || secret.Reveal() != want {
			t.Errorf("%s: got %q, %v", text, secret.Reveal(), err)
		}
		known, _ := c.Secrets.(interface{ Known(string) error })
		if err := known.Known("accounts.a.password"); (err != nil) != (want == "") || err != nil && strings.Contains(err.Error(), "(it has accounts") {
			t.Errorf("%s: got %v", text, err)
		}
		password, err := c.Secrets.Secret(context.Background(), c.Target.Accounts["a"].Password)
		if err != nil || password.Reveal() != "of the account" {
			t.Errorf("%s: the account's password is %q, %v", text, password.Reveal(), err)
		}
	}
	c, err := Parse("stepwatch.yml", []byte(account))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("ACCOUNT", "")
	if _, err := c.Secrets.Secret(context.Background(), c.Target.Accounts["a"].Password); err == nil || !strings.HasPrefix(err.Error(), "read the secret accounts.a.password: ") {
		t.Errorf("got %v", err)
	}
}
