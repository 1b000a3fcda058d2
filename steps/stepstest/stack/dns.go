//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/miekg/dns"
)

// The hosts of StartDNS: a name server that signs its zones, its secondary, and a resolver that validates.
const (
	Primary   = "primary." + Domain
	Secondary = "secondary." + Domain
	Resolver  = "resolver." + Domain
)

// Hashed is the second zone of StartDNS. It is like Documented, and denies by hashes what is not there (NSEC3).
const Hashed = "hashed.test"

// DNS is what StartDNS started.
type DNS struct {
	Primary, Secondary, Resolver *Server
	Anchors                      string // file with the keys of both zones
	ZoneFile                     string // of Documented, as the primary reads it when it gets a SIGHUP
}

type dnsZone struct{ Name, Policy string }

// StartDNS starts two Knot and an Unbound. They serve the zone of Documented, as a small server's zone is written, and
// Hashed.
func (s *Stack) StartDNS(ctx context.Context) error {
	dir := s.path("dns")
	primary, secondary, resolver := s.find(Primary)[0], s.find(Secondary)[0], s.find(Resolver)[0]
	zones := []dnsZone{{Documented, "plain"}, {Hashed, "hashed"}}
	s.DNS = &DNS{Anchors: dir + "/anchors", ZoneFile: dir + "/zone." + Documented}
	type knot struct {
		Dir, Name, IP, Other string
		Primary              bool
		Zones                []dnsZone
	}
	var large []string // a record set that needs TCP
	for i := range 10 {
		large = append(large, fmt.Sprintf("%02d %s", i, strings.Repeat("x", 200)))
	}
	errs := []error{os.MkdirAll(dir+"/primary", 0o755), os.MkdirAll(dir+"/secondary", 0o755)}
	for _, zone := range zones {
		errs = append(errs, s.render("etc/dns/zone", dir+"/zone."+zone.Name, struct {
			Name, Primary, Secondary string
			Large                    []string
		}{zone.Name, primary.IP, secondary.IP, large}))
	}
	errs = append(errs,
		s.render("etc/dns/knot.conf", dir+"/primary.conf", knot{dir, "primary", primary.IP, secondary.IP, true, zones}),
		s.render("etc/dns/knot.conf", dir+"/secondary.conf", knot{dir, "secondary", secondary.IP, primary.IP, false, zones}),
		s.render("etc/dns/unbound.conf", dir+"/unbound.conf", struct {
			Dir, IP, Chain, Primary, Domain string
			Zones                           []dnsZone
		}{dir, resolver.IP, resolver.Chain, primary.IP, Domain, zones}))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.DNS.Primary = s.server("knot-primary", knotProgram, "-c", dir+"/primary.conf")
	s.DNS.Secondary = s.server("knot-secondary", knotProgram, "-c", dir+"/secondary.conf")
	s.DNS.Resolver = s.server("unbound", unboundProgram, "-d", "-c", dir+"/unbound.conf")
	for _, zone := range zones {
		s.DNS.Primary.ready = append(s.DNS.Primary.ready, resolving(primary.IP, zone.Name, dns.TypeDNSKEY))
		s.DNS.Secondary.ready = append(s.DNS.Secondary.ready, resolving(secondary.IP, zone.Name, dns.TypeDNSKEY))
		s.DNS.Resolver.ready = append(s.DNS.Resolver.ready, resolving(resolver.IP, zone.Name, dns.TypeSOA))
	}
	for _, server := range []*Server{s.DNS.Primary, s.DNS.Secondary} {
		if err := server.Start(ctx); err != nil {
			return err
		}
	}
	anchors := ""
	for _, zone := range zones {
		reply, err := askDNS(ctx, primary.IP, zone.Name, dns.TypeDNSKEY)
		if err != nil {
			return err
		}
		for _, rr := range reply.Answer {
			if key, is := rr.(*dns.DNSKEY); is && key.Flags&dns.SEP != 0 {
				anchors += key.String() + "\n"
			}
		}
	}
	if err := os.WriteFile(s.DNS.Anchors, []byte(anchors), 0o644); err != nil {
		return err
	}
	return s.DNS.Resolver.Start(ctx)
}

func askDNS(ctx context.Context, ip, name string, kind uint16) (*dns.Msg, error) {
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(name), kind)
	reply, _, err := new(dns.Client).ExchangeContext(ctx, query, ip+":53")
	return reply, err
}

// resolving is ready when a name server has such a record.
func resolving(ip, name string, kind uint16) func(context.Context) error {
	return func(ctx context.Context) error {
		reply, err := askDNS(ctx, ip, name, kind)
		if err == nil && len(reply.Answer) == 0 {
			err = fmt.Errorf("it answers %s without a record", dns.RcodeToString[reply.Rcode])
		}
		return err
	}
}
