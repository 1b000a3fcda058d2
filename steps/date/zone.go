package date

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const hour = 3600

// zones are the offsets of zone names in seconds east of UTC: those of RFC 5322 section 4.3, and others that mean the
// same wherever they are written.
var zones = map[string]int{
	"UT": 0, "GMT": 0, "UTC": 0,
	"EST": -5 * hour, "EDT": -4 * hour, "CST": -6 * hour, "CDT": -5 * hour, "MST": -7 * hour, "MDT": -6 * hour, "PST": -8 * hour, "PDT": -7 * hour,

	"WET": 0, "WEST": hour, "WESZ": hour,
	"CET": hour, "CEST": 2 * hour, "MET": hour, "MEST": 2 * hour, "MEZ": hour, "MESZ": 2 * hour,
	"EET": 2 * hour, "EEST": 3 * hour, "MSK": 3 * hour, "MSD": 4 * hour, "TRT": 3 * hour,
	"WAT": hour, "CAT": 2 * hour, "SAST": 2 * hour, "EAT": 3 * hour, "IDT": 3 * hour,
	"IRST": 3*hour + 1800, "IRDT": 4*hour + 1800, "PKT": 5 * hour, "NPT": 5*hour + 2700,
	"ICT": 7 * hour, "WIB": 7 * hour, "WITA": 8 * hour, "HKT": 8 * hour, "SGT": 8 * hour, "PHT": 8 * hour,
	"JST": 9 * hour, "KST": 9 * hour, "WIT": 9 * hour, "CHST": 10 * hour,
	"AWST": 8 * hour, "ACST": 9*hour + 1800, "ACDT": 10*hour + 1800, "AEST": 10 * hour, "AEDT": 11 * hour,
	"NZST": 12 * hour, "NZDT": 13 * hour,
	"AKST": -9 * hour, "AKDT": -8 * hour, "HST": -10 * hour, "HDT": -9 * hour, "NST": -(3*hour + 1800), "NDT": -(2*hour + 1800),
	"ART": -3 * hour, "BRT": -3 * hour,
}

// meaning is one reading of a zone name.
type meaning struct {
	place  string
	offset int // seconds east of UTC
}

// ambiguous are zone names that mean different offsets to different people.
var ambiguous = map[string][]meaning{
	"ADT":  {{"Atlantic", -3 * hour}, {"Arabia", 4 * hour}},
	"AMT":  {{"Amazonas", -4 * hour}, {"Armenia", 4 * hour}},
	"AST":  {{"Atlantic", -4 * hour}, {"Arabia", 3 * hour}},
	"BST":  {{"British summer", hour}, {"Bangladesh", 6 * hour}},
	"ECT":  {{"Ecuador", -5 * hour}, {"Eastern Caribbean", -4 * hour}},
	"GST":  {{"Gulf", 4 * hour}, {"South Georgia", -2 * hour}},
	"IST":  {{"India", 5*hour + 1800}, {"Ireland", hour}, {"Israel", 2 * hour}},
	"SST":  {{"Samoa", -11 * hour}, {"Singapore", 8 * hour}},
	"WAST": {{"Western Africa", 2 * hour}, {"Western Australia", 8 * hour}},
	"WST":  {{"Samoa", 13 * hour}, {"Western Australia", 8 * hour}},
}

// AmbiguousError is the error for a date whose zone name means several offsets.
type AmbiguousError struct {
	Zone             string
	Earliest, Latest time.Time // what the date means at most, in UTC

	meanings []meaning
}

func (e *AmbiguousError) Error() string {
	var said strings.Builder
	for i, m := range e.meanings {
		switch {
		case i > 0 && i == len(e.meanings)-1:
			said.WriteString(" or ")
		case i > 0:
			said.WriteString(", ")
		}
		sign, offset := '+', m.offset
		if offset < 0 {
			sign, offset = '-', -offset
		}
		fmt.Fprintf(&said, "%s (%c%02d%02d)", m.place, sign, offset/hour, offset%hour/60)
	}
	return fmt.Sprintf("its zone %s is ambiguous: %s; RFC 5322 section 3.3 has an offset in digits", e.Zone, &said)
}

// zoneOf returns the offset that a zone name means, in seconds east of UTC. The error for several is an
// [*AmbiguousError] without its times.
func zoneOf(name string) (int, error) {
	upper := strings.ToUpper(name)
	if offset, known := zones[upper]; known {
		return offset, nil
	}
	if upper == "LMT" {
		return 0, errors.New("its zone LMT is the local mean time of some place; RFC 5322 section 3.3 has an offset in digits")
	}
	if len(upper) == 1 && 'A' <= upper[0] && upper[0] <= 'Z' && upper != "J" {
		return 0, nil // RFC 5322 section 4.3: military zones were used with either sign and count as -0000
	}
	if meanings, known := ambiguous[upper]; known {
		return 0, &AmbiguousError{Zone: upper, meanings: meanings}
	}
	return 0, fmt.Errorf("its zone %.20q is unknown; RFC 5322 section 3.3 has an offset in digits", name)
}
