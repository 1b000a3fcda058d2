package certificate_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/certificate"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// issued returns a chain of three certificates: the server's, its issuer's and the root's.
func issued(t testing.TB, names ...string) (chain []*x509.Certificate, key crypto.Signer, root *stepstest.CA) {
	t.Helper()
	root = must(stepstest.NewCA("Root"))(t)
	middle := must(root.Intermediate("Middle", time.Now().Add(24*time.Hour)))(t)
	leaf := must(middle.Issue(names...))(t)
	chain = []*x509.Certificate{must(x509.ParseCertificate(leaf.Certificate[0]))(t), middle.Certificate(), root.Certificate()}
	return chain, leaf.PrivateKey.(crypto.Signer), root
}

func file(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadFile(t *testing.T) {
	chain, key, _ := issued(t, "mail.test")
	certificates := ""
	for _, c := range chain {
		certificates += block("CERTIFICATE", c.Raw)
	}
	private := block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(t))
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	parameters := block("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7})
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content            string
		certificates, keys int
		want               string // the error, without the path before it
	}{
		"a chain":                       {content: certificates, certificates: 3},
		"key first":                     {content: private + certificates, certificates: 3, keys: 1},
		"key last":                      {content: certificates + private, certificates: 3, keys: 1},
		"words between":                 {content: "subject=CN = mail.test\n" + certificates + "\n# the key\n" + private, certificates: 3, keys: 1},
		"lines as on Windows":           {content: strings.ReplaceAll(certificates+private, "\n", "\r\n"), certificates: 3, keys: 1},
		"an elliptic key of openssl":    {content: parameters + block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(other))(t)), keys: 1},
		"an RSA key of openssl":         {content: block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), keys: 1},
		"an Ed25519 key":                {content: block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edKey))(t)), keys: 1},
		"in DER":                        {content: string(chain[0].Raw), certificates: 1},
		"empty":                         {want: "it has neither a certificate nor a key in PEM"},
		"words":                         {content: "no certificate", want: "it has neither a certificate nor a key in PEM"},
		"neither of both":               {content: parameters, want: "it has neither a certificate nor a key in PEM"},
		"a request":                     {content: block("CERTIFICATE REQUEST", []byte{1}), want: "it has neither a certificate nor a key in PEM"},
		"trusted by OpenSSL":            {content: block("TRUSTED CERTIFICATE", chain[0].Raw), want: `it has a block "TRUSTED CERTIFICATE", which only OpenSSL reads: convert it with "openssl x509"`},
		"cut off in a block":            {content: certificates[:len(certificates)-40], want: "it is truncated or damaged: a block has no end"},
		"cut off in its first":          {content: certificates[:100], want: "it is truncated or damaged: a block has no end"},
		"broken between whole ones":     {content: block("CERTIFICATE", chain[0].Raw) + "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n" + block("CERTIFICATE", chain[1].Raw), want: "it is truncated or damaged: a block has no end"},
		"behind a byte order mark":      {content: "\ufeff" + certificates, want: "it is truncated or damaged: a block has no end"},
		"half a certificate":            {content: certificates + block("CERTIFICATE", chain[0].Raw[:80]), want: "its certificate 4 cannot be read: x509: malformed certificate"},
		"half a key":                    {content: block("PRIVATE KEY", []byte{0x30}), want: "its private key cannot be read: "},
		"an encrypted key":              {content: certificates + block("ENCRYPTED PRIVATE KEY", []byte{1}), want: "its private key is encrypted"},
		"an encrypted key of old":       {content: "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", want: "its private key is encrypted"},
		"larger than any":               {content: strings.Repeat("x", 4<<20+1), want: "has more than 4194304 bytes"},
		"a key of a kind not for TLS":   {content: block("DSA PRIVATE KEY", []byte{0x30, 0}), want: "its private key cannot be read: "},
		"a key under another's heading": {content: block("RSA PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edKey))(t)), want: "its private key cannot be read: "},
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t, c.content)
			f, err := certificate.ReadFile(path)
			if c.want == "" && (err != nil || len(f.Certificates) != c.certificates || len(f.Keys) != c.keys || f.Path != path) {
				t.Fatalf("got %+v, %v", f, err)
			}
			if c.want != "" && (err == nil || !strings.HasPrefix(strings.TrimLeft(strings.TrimPrefix(err.Error(), path), ": "), c.want)) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	for name, path := range map[string]string{"a directory": t.TempDir(), "a device": "/dev/zero", "absent": "/none"} {
		if f, err := certificate.ReadFile(path); err == nil {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

func TestDifference(t *testing.T) {
	chain, key, _ := issued(t, "mail.test")
	strangers, otherKey, _ := issued(t, "mail.test")
	served := chain[:2]
	for name, c := range map[string]struct {
		there []*x509.Certificate
		want  string // how it begins
	}{
		"the same":           {served, ""},
		"its own alone":      {chain[:1], ""},
		"more than is sent":  {chain, `has the same certificate but other issuers after it: in the file "Middle", "Root", served "Middle": reload the server`},
		"nothing":            {nil, "has no certificate"},
		"another":            {strangers, `has another: in the file "mail.test" until `},
		"behind another":     {slices.Concat(strangers[:2], served), ""},
		"in another's order": {[]*x509.Certificate{chain[1], chain[0]}, ""},
	} {
		f := &certificate.File{Certificates: c.there}
		if got := f.Difference(served); (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	f := &certificate.File{Keys: []crypto.PublicKey{otherKey.Public(), key.Public()}}
	if !f.HasKeyOf(chain[0]) || f.HasKeyOf(chain[1]) {
		t.Error("want the key to belong only to the first certificate")
	}
}

func TestJudge(t *testing.T) {
	chain, _, root := issued(t, "mail.test")
	roots := must(root.Roots())(t)
	judge := &certificate.Judge{Now: time.Now(), Roots: roots}
	if chains := judge.Chains(chain[:2]); len(chains) != 1 || len(chains[0]) != 3 {
		t.Errorf("chains %v", chains)
	}
	if end, ok := certificate.LastChain(nil); ok {
		t.Errorf("no chain ends at %s", end)
	}
	if end, ok := certificate.LastChain([][]*x509.Certificate{chain[:1], chain}); !ok || !end.Equal(chain[0].NotAfter) {
		t.Errorf("the last chain ends at %s", end)
	}
	if got, want := certificate.Earliest(chain), slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter; !got.Equal(want) {
		t.Errorf("earliest %s, want %s", got, want)
	}
	asked := ""
	judge.Fetch = func(_ context.Context, url string) (*x509.Certificate, error) {
		asked = url
		return chain[1], nil
	}
	if fault := judge.Trust(t.Context(), chain[:1]); fault == nil || fault.Kind != certificate.UnknownAuthority || asked != "" {
		t.Errorf("a certificate without a URL of its issuer's: %v, asked %q", fault, asked)
	}
	for d, want := range map[time.Duration]string{0: "0 hours", 47 * time.Hour: "47 hours", 48 * time.Hour: "2 days", 400 * 24 * time.Hour: "400 days"} {
		if got := certificate.Days(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
	strange := &x509.Certificate{}
	strange.Subject.CommonName = "mail\x1b[31m\n.test"
	if got := certificate.Name(strange); got != `"mail?[31m?.test"` {
		t.Errorf("got %s", got)
	}
}

// FuzzReadFile checks that no file causes a panic, and that the certificates and keys of a file can be used.
func FuzzReadFile(f *testing.F) {
	chain, key, _ := issued(f, "mail.test")
	private := block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(f))
	certificates := block("CERTIFICATE", chain[0].Raw) + block("CERTIFICATE", chain[1].Raw)
	for _, seed := range []string{"", certificates, private + certificates, certificates + private[:60], string(chain[0].Raw), "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
		block("ENCRYPTED PRIVATE KEY", []byte{1}), block("EC PRIVATE KEY", []byte{0x30, 0}), "-----BEGIN ", "-----BEGIN CERTIFICATE-----\nA: b\n\nAA==\n-----END CERTIFICATE-----"} {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), "file.pem")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := certificate.ReadFile(path)
		if err != nil {
			if got != nil {
				t.Errorf("both %+v and %v", got, err)
			}
			return
		}
		if len(got.Certificates) == 0 && len(got.Keys) == 0 {
			t.Error("a file without certificates and keys was read without an error")
		}
		got.HasKeyOf(chain[0])
		if difference := got.Difference(chain); strings.ContainsAny(difference, "\n\x1b") {
			t.Errorf("not on one line: %q", difference)
		}
		for _, c := range got.Certificates { // a server may send any of them
			served := append([]*x509.Certificate{c}, got.Certificates...)
			judge := &certificate.Judge{Now: time.Now(), Roots: x509.NewCertPool()}
			judge.Validity(served, time.Hour)
			certificate.Host(served, "mail.test")
			judge.Trust(t.Context(), served)
			certificate.Strength(served)
			_, _ = judge.Staple(content, served)
		}
	})
}

// FuzzStaple reads OCSP responses of any server: none is good without the signature of the authority.
func FuzzStaple(f *testing.F) {
	chain, _, root := issued(f, "mail.test")
	roots := must(root.Roots())(f)
	f.Add([]byte("\x30\x03\x0a\x01\x06"))
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, response []byte) {
		judge := &certificate.Judge{Now: time.Now(), Roots: roots}
		until, err := judge.Staple(response, chain)
		if err == nil {
			t.Errorf("a response that nobody signed is good until %s", until)
		} else if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("not on one line: %q", err)
		}
	})
}
