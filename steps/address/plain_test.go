package address

import "testing"

var plainSeeds = []string{
	"http://www.example.org/", "https://example.org:8443/a/b.html?x=1&y=a/../b", "http://127.0.0.1:8080/x", "http://127.1/", "http://example.org:80/", "http://a.1/",
	"http://a--b.example/", "http://xn--mller-kva.example/", "http://-a.example/", "http://a-.example/", "http://a..b/", "http://.a/", "http://a./", "http://example.org/./a", "http://example.org/..",
	"http://example.org/a?b?c", "http://example.org/a'b", "http://example.org//a", "http://example.org/a.b/.c", "http://0x7f.1/", "http://example.org:/", "http://example.org:080/", "https://example.org:443/",
	"http://a.0x1/", "http://01.2.3.4/", "http://a:b@c/", "http://example.org/?a=~!$&()*+,;=:@/", "http://1e3/", "http://example.org/a:b@c", "http://a1b2/",
}

// FuzzWritten checks that what counts as already written in the standard's form is read as the standard reads it.
func FuzzWritten(f *testing.F) {
	for _, seed := range plainSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, is := written(text)
		if !is {
			return
		}
		want, err := standard(text, nil)
		if err != nil || *u != *want || u.Href() != text {
			t.Errorf("%q: got %+v, want %+v, %v", text, u, want, err)
		}
	})
}

func TestMostAddressesAreWrittenSo(t *testing.T) {
	for _, text := range plainSeeds[:3] {
		if _, is := written(text); !is {
			t.Errorf("%q is not read at once", text)
		}
	}
}
