// Package fail2ban asks a running fail2ban for its banned addresses, through its own client. Its socket uses Python's
// pickle, which is not a public protocol.
package fail2ban

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/steps/program"
)

// Reasons why a jail is not readable.
var (
	ErrDenied = errors.New("permission denied: fail2ban only answers to root")
	ErrDown   = errors.New("fail2ban is not running")
	ErrNoJail = errors.New("no such jail")
	ErrFormat = errors.New("unknown format")
)

// Jail is the state of a jail.
type Jail struct {
	Failed int // number of addresses with recent failures, too few for a ban
	Banned []netip.Prefix
}

// Read returns the state of a jail.
func Read(ctx context.Context, jail string) (*Jail, error) {
	out, err := program.Run(ctx, program.Command{Path: "fail2ban-client", Args: []string{"status", jail}, OutputLimit: 16 << 20})
	if err != nil {
		return nil, err
	}
	// Errors are on stdout or stderr, depending on the version.
	said := append(bytes.Clone(out.Stderr), out.Stdout...)
	has := func(text string) bool { return bytes.Contains(said, []byte(text)) }
	switch {
	case out.ExitCode == 0 && out.StdoutCut:
		return nil, fmt.Errorf("%w: the list is too long", ErrFormat)
	case out.ExitCode == 0:
		return parse(out.Stdout)
	case has("does not exist"):
		return nil, ErrNoJail
	case has("Permission denied"), has("must be root"):
		return nil, ErrDenied
	case has("Is fail2ban running"), has("Could not find server"), has("Unable to contact server"): // the last one after it was killed
		return nil, ErrDown
	default:
		first, _, _ := bytes.Cut(bytes.TrimSpace(said), []byte("\n"))
		return nil, fmt.Errorf("fail2ban-client status failed: %.200s", first)
	}
}

// parse reads the output of "fail2ban-client status JAIL": a tree of names and values.
func parse(output []byte) (*Jail, error) {
	values := make(map[string]string)
	for line := range strings.Lines(string(output)) {
		name, value, found := strings.Cut(strings.TrimLeft(line, "|`- \t"), ":")
		if found {
			values[name] = strings.TrimSpace(value)
		}
	}
	count := func(name string) (int, error) {
		n, err := strconv.Atoi(values[name])
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%w: %q is %.40q", ErrFormat, name, values[name])
		}
		return n, nil
	}
	failed, err := count("Currently failed")
	if err != nil {
		return nil, err
	}
	banned, err := count("Currently banned")
	if err != nil {
		return nil, err
	}
	list, found := values["Banned IP list"]
	if !found {
		return nil, fmt.Errorf("%w: there is no list of banned addresses", ErrFormat)
	}
	j := &Jail{Failed: failed}
	for address := range strings.FieldsSeq(list) {
		prefix, err := parseAddress(address)
		if err != nil {
			return nil, fmt.Errorf("%w: %.60q is banned, which is not an address", ErrFormat, address)
		}
		j.Banned = append(j.Banned, prefix)
	}
	if len(j.Banned) != banned {
		return nil, fmt.Errorf("%w: %d are banned, but the list has %d", ErrFormat, banned, len(j.Banned))
	}
	return j, nil
}

func parseAddress(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(address, address.BitLen()), nil
}

// Bans reports whether an address is banned, by itself or with its network.
func (j *Jail) Bans(address netip.Addr) bool {
	for _, prefix := range j.Banned {
		if prefix.Contains(address.Unmap()) {
			return true
		}
	}
	return false
}
