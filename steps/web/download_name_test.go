package web

import (
	"net/http"
	"strings"
	"testing"
)

func TestDispositionName(t *testing.T) {
	for disposition, want := range map[string]string{
		``:                                       "",
		`inline`:                                 "",
		`attachment; filename=a.pdf`:             "a.pdf",
		`attachment; filename="a b.pdf"`:         "a b.pdf",
		`attachment; filename="../../etc/x.pdf"`: "_.._etc_x.pdf",
		`attachment; filename="C:\\x.pdf"`:       "C__x.pdf",
		`attachment; filename*=UTF-8''%E2%82%AC.pdf; filename="EUR.pdf"`: "€.pdf",
		`attachment; filename=a b.pdf`:                                   "a b.pdf", // RFC 6266 requires quotes, browsers do not
	} {
		if got := dispositionName(http.Header{"Content-Disposition": {disposition}}); got != want {
			t.Errorf("%s: got %q, want %q", disposition, got, want)
		}
	}
}

func FuzzDispositionName(f *testing.F) {
	f.Add(`attachment; filename="a/b.pdf"; filename*=UTF-8''%2e%2f`)
	f.Fuzz(func(t *testing.T, disposition string) {
		if name := dispositionName(http.Header{"Content-Disposition": {disposition}}); strings.ContainsAny(name, `/\`) {
			t.Errorf("%q is a path", name)
		}
	})
}
