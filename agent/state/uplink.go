package state

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// When everything fails at once, the reason is rarely everything. A failure that the network of this machine could explain
// begins a suspicion, unless a run that began after it got an answer from a remote host. A connection that is accepted or
// refused is an answer, even if the run fails. Until an answer refutes the suspicion, alerts for such failures wait, but not
// for longer than uplinkHold, and scenarios at other hosts run at once. Failures of uplinkHosts hosts without any answer
// confirm it: from then on such results are a lack of this machine (result.Result.Lack), until a remote host answers again.

// KindUplink is the kind of the lack.
const KindUplink = "uplink"

const (
	uplinkHold  = 15 * time.Second // how long an alert waits because of a suspicion
	uplinkHosts = 3                // how many hosts must fail, and be known
)

// uplink is what is known about the way from this machine to others.
type uplink struct {
	certain bool            // somebody else asks reference hosts, so nothing is suspected here
	known   map[string]int  // remote hosts that answered, and how many scenarios use them
	answer  time.Time       // start of the last run that got an answer from a remote host
	began   time.Time       // of the suspicion: start of the first failed run; zero if there is none
	silent  time.Time       // when that run had its last answer, or its start
	until   time.Time       // when alerts wait no longer because of it
	failed  map[string]bool // hosts that failed since then
	asked   []string        // hosts that have to fail, too
	isAsked bool

	confirmed bool
}

// remote returns the hosts of addresses that are not this machine.
func remote(targets []string) (hosts []string) {
	for _, target := range targets {
		host, _, err := net.SplitHostPort(target)
		if err != nil {
			host = target
		}
		ip, err := netip.ParseAddr(host)
		if host == "" || host == "localhost" || err == nil && (ip.IsLoopback() || ip.IsUnspecified()) || slices.Contains(hosts, host) {
			continue
		}
		hosts = append(hosts, host)
	}
	return hosts
}

// host notes which remote hosts a scenario uses.
func (m *machine) host(rec *record, hosts []string) {
	for _, h := range rec.hosts {
		if m.uplink.known[h]--; m.uplink.known[h] == 0 {
			delete(m.uplink.known, h)
		}
	}
	for _, h := range hosts {
		if m.uplink.known == nil {
			m.uplink.known = make(map[string]int)
		}
		m.uplink.known[h]++
	}
	rec.hosts = hosts
}

// uplinkSees looks whether a run got an answer from a remote host.
func (m *machine) uplinkSees(rec *record, r *result.Result, now time.Time) {
	u := &m.uplink
	if u.certain || len(r.Targets) == 0 || r.Blame == result.BlameMonitor || r.Blame == result.BlameScenario {
		return
	}
	at, refutes := r.Started, !u.began.IsZero() && !r.Started.Before(u.began)
	if r.Reason.OfNetwork() { // it failed, but may have got an answer before that
		if at, refutes = r.Answered, !u.began.IsZero() && r.Answered.After(u.silent); at.IsZero() {
			return
		}
	}
	if !slices.Equal(rec.Targets, r.Targets) {
		rec.Targets = r.Targets
		m.host(rec, remote(r.Targets))
	}
	if len(rec.hosts) == 0 {
		return
	}
	if at.After(u.answer) {
		u.answer = at
	}
	if refutes {
		if !u.confirmed && len(u.failed) > 1 { // it may have been down for a moment: whoever failed then runs again
			m.doubt()
		}
		u.began, u.failed, u.confirmed = time.Time{}, nil, false
		for _, other := range m.opened() {
			if other != rec {
				m.settle(other, now)
			}
		}
	}
}

// suspect returns the lack that explains a failed run if the uplink of this machine seems to be down, or nil. It is called
// before observe. doubtful says that others have not failed yet.
func (m *machine) suspect(r *result.Result, now time.Time) (own *result.Lack, doubtful bool) {
	u := &m.uplink
	if u.certain || r.Stale || r.Lack != nil || !r.Reason.OfNetwork() || r.Refused {
		return nil, false
	}
	if !u.began.IsZero() && r.Answered.After(u.silent) {
		return nil, false // it refutes the suspicion
	}
	hosts := remote(r.Targets)
	if len(r.Targets) == 0 {
		hosts = m.record(r.Identity).hosts // it did not come as far as an address
	}
	if len(hosts) != 1 { // none, or one answered before another failed
		return nil, false
	}
	if u.began.IsZero() {
		silent := r.Started
		if r.Answered.After(silent) {
			silent = r.Answered
		}
		if len(u.known) < uplinkHosts || u.answer.After(silent) {
			return nil, false
		}
		u.silent = silent
		u.began, u.until, u.failed, u.asked = r.Started, now.Add(uplinkHold), make(map[string]bool), nil
		u.isAsked = false
	}
	u.failed[hosts[0]] = true
	p := m.record(r.Identity).find(RuleFailures)
	if isNews := p == nil || p.Told == nil || p.Told.State != alert.Hard; !u.isAsked && (isNews || len(u.failed) >= uplinkHosts) {
		u.isAsked = true
		m.askOthers(now)
	}
	if len(u.failed) < uplinkHosts || slices.ContainsFunc(u.asked, func(h string) bool { return !u.failed[h] }) {
		return nil, true
	}
	if !u.confirmed {
		u.confirmed = true
		m.doubt()
		for _, rec := range m.opened() {
			m.settle(rec, now)
		}
	}
	return &result.Lack{Kind: KindUplink, Said: fmt.Sprintf("no other machine answers this one any more: %d hosts failed, and none answered since %s", len(u.failed), u.began.Format(time.TimeOnly)),
		Remedy: "check the network of this machine: its cable, its route and its provider; name hosts that always answer under uplink.references in stepwatch.yml, to be sure"}, false
}

// confirmedMeanwhile reports whether a failure may be the uplink's although it was not explained by that: others confirmed it between
// suspect and observe.
func (m *machine) confirmedMeanwhile(rec *record, r *result.Result) bool {
	u := &m.uplink
	if !u.confirmed || !r.Reason.OfNetwork() || r.Refused || r.Started.Before(u.began) || r.Answered.After(u.silent) {
		return false
	}
	hosts := remote(r.Targets)
	if len(r.Targets) == 0 {
		hosts = rec.hosts
	}
	return len(hosts) == 1
}

// doubt has the scenarios run again whose failure began in the suspicion and is not told yet.
func (m *machine) doubt() {
	for rec := range m.open {
		if p := rec.find(RuleFailures); p != nil && p.news() && !rec.answered && rec.LastReason.OfNetwork() && !p.Since.Before(m.uplink.began) {
			rec.Uncertain, rec.Forgive = true, true
		}
	}
}

// askOthers has some scenarios run that got answers from other hosts, so that a suspicion ends soon: those that answered last and
// have had no problem lately.
func (m *machine) askOthers(now time.Time) {
	var best []*record // of different hosts, the latest first
	for _, rec := range m.order {
		if len(rec.hosts) != 1 || m.uplink.failed[rec.hosts[0]] || rec.Results.bad > 0 || rec.Proven != result.OK {
			continue
		}
		same := slices.IndexFunc(best, func(other *record) bool { return other.hosts[0] == rec.hosts[0] })
		if same >= 0 {
			if !rec.ProvenAt.After(best[same].ProvenAt) {
				continue
			}
			best = slices.Delete(best, same, same+1)
		}
		at := slices.IndexFunc(best, func(other *record) bool { return rec.ProvenAt.After(other.ProvenAt) })
		if at < 0 {
			at = len(best)
		}
		best = slices.Insert(best, at, rec)
		best = best[:min(len(best), uplinkHosts)]
	}
	for _, rec := range best {
		m.uplink.asked = append(m.uplink.asked, rec.hosts[0])
		rec.asked = now
		m.output.asked = append(m.output.asked, rec.ID)
	}
}

// suspected returns why an alert waits because of the uplink, or "".
func (m *machine) suspected(rec *record, p *problem, now time.Time) string {
	u := &m.uplink
	if rec.Uncertain {
		if !u.confirmed {
			m.ask(rec, now)
			m.wakeAt(now.Add(askAgain))
		}
		return "uplink: the network of this machine may have been down in its last run"
	}
	if p.Rule != RuleFailures || p.State == alert.Resolved || u.began.IsZero() || u.confirmed || !p.news() || !now.Before(u.until) ||
		rec.answered || !rec.LastReason.OfNetwork() || rec.LastRun.Before(u.began) {
		return ""
	}
	m.wakeAt(u.until)
	return "uplink: waits for an answer of another host, or for their failures"
}
