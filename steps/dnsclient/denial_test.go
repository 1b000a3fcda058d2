package dnsclient

import (
	"testing"

	"github.com/miekg/dns"
)

// TestOrder checks the example of RFC 4034 section 6.1.
func TestOrder(t *testing.T) {
	names := []string{"example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.", "z.example.", `\001.z.example.`, "*.z.example.", `\200.z.example.`}
	for i := range names {
		for j := range names {
			if got := order(names[i], names[j]); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("order of %q and %q: %d", names[i], names[j], got)
			}
		}
	}
}

func TestDenial(t *testing.T) {
	read := func(texts ...string) *denials {
		d := &denials{zone: "example."}
		for _, text := range texts {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			switch rr := rr.(type) {
			case *dns.NSEC:
				d.plain = append(d.plain, rr)
			case *dns.NSEC3:
				d.hash = append(d.hash, rr)
			}
		}
		return d
	}
	// The zone of RFC 5155 appendix A.
	const (
		apex    = "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. NSEC3 1 0 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA NSEC3PARAM RRSIG"
		ns1     = "2t7b4g4vsa5smi47k61mv5bv1a22bojr.example. NSEC3 1 0 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG"
		xw      = "b4um86eghhds6nea196smvmlo4ors995.example. NSEC3 1 0 12 aabbccdd gjeqe526plbf1g8mklp59enfd789njgi MX RRSIG"
		x       = "35mthgpgcu1qg68fab165klnsnk3dpvl.example. NSEC3 1 0 12 aabbccdd b4um86eghhds6nea196smvmlo4ors995 NS DS RRSIG"
		optedIn = "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. NSEC3 1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX NS SOA"
	)
	for name, c := range map[string]struct {
		records []string
		name    string
		kind    uint16
		noName  bool
		want    bool
	}{
		"NSEC no name":                      {[]string{"b.example. NSEC d.example. A", "example. NSEC b.example. SOA"}, "c.example.", dns.TypeA, true, true},
		"NSEC no name, wildcard left open":  {[]string{"b.example. NSEC d.example. A"}, "c.example.", dns.TypeA, true, false},
		"NSEC of another gap":               {[]string{"b.example. NSEC d.example. A", "example. NSEC b.example. SOA"}, "e.example.", dns.TypeA, true, false},
		"NSEC the last":                     {[]string{"d.example. NSEC example. A", "example. NSEC b.example. SOA"}, "e.example.", dns.TypeA, true, true},
		"NSEC no data":                      {[]string{"b.example. NSEC d.example. A"}, "b.example.", dns.TypeMX, false, true},
		"NSEC data":                         {[]string{"b.example. NSEC d.example. A MX"}, "b.example.", dns.TypeMX, false, false},
		"NSEC alias":                        {[]string{"b.example. NSEC d.example. CNAME"}, "b.example.", dns.TypeMX, false, false},
		"NSEC name with others below":       {[]string{"b.example. NSEC x.c.example. A"}, "c.example.", dns.TypeMX, false, true},
		"NSEC exists because of others":     {[]string{"b.example. NSEC x.c.example. A", "example. NSEC b.example. SOA"}, "c.example.", dns.TypeMX, true, false},
		"NSEC wildcard without":             {[]string{"b.example. NSEC d.example. A", "*.example. NSEC b.example. A"}, "c.example.", dns.TypeMX, false, true},
		"NSEC wildcard with":                {[]string{"b.example. NSEC d.example. A", "*.example. NSEC b.example. MX"}, "c.example.", dns.TypeMX, false, false},
		"NSEC of the zone above":            {[]string{"b.example. NSEC d.example. NS"}, "b.example.", dns.TypeMX, false, false},
		"NSEC below a delegation":           {[]string{"b.example. NSEC d.example. NS", "example. NSEC b.example. SOA"}, "a.b.example.", dns.TypeMX, true, false},
		"NSEC no DS":                        {[]string{"b.example. NSEC d.example. NS"}, "b.example.", dns.TypeDS, false, true},
		"NSEC no DS, of the zone itself":    {[]string{"b.example. NSEC d.example. NS SOA"}, "b.example.", dns.TypeDS, false, false},
		"NSEC outside":                      {[]string{"example. NSEC example. SOA"}, "elsewhere.", dns.TypeA, true, false},
		"NSEC3 no name (B.1)":               {[]string{apex, xw, x}, "a.c.x.w.example.", dns.TypeA, true, true},
		"NSEC3 no name, wildcard left open": {[]string{apex, xw}, "a.c.x.w.example.", dns.TypeA, true, false},
		"NSEC3 no name, opt-out":            {[]string{optedIn, xw, x}, "a.c.x.w.example.", dns.TypeA, true, false},
		"NSEC3 no data (B.2)":               {[]string{ns1}, "ns1.example.", dns.TypeMX, false, true},
		"NSEC3 data":                        {[]string{ns1}, "ns1.example.", dns.TypeA, false, false},
		"NSEC3 nothing":                     {[]string{ns1}, "other.example.", dns.TypeA, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := read(c.records...).deny(c.name, c.kind, c.noName); (err == nil) != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
}
