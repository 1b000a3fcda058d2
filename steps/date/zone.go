package date

import (
	"fmt"
	"strings"
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

// ambiguous are zone names that mean different offsets to different people.
var ambiguous = map[string]string{
	"ADT":  "Atlantic (-0300) or Arabia (+0400)",
	"AMT":  "Amazonas (-0400) or Armenia (+0400)",
	"AST":  "Atlantic (-0400) or Arabia (+0300)",
	"BST":  "British summer (+0100) or Bangladesh (+0600)",
	"ECT":  "Ecuador (-0500) or Eastern Caribbean (-0400)",
	"GST":  "Gulf (+0400) or South Georgia (-0200)",
	"IST":  "India (+0530), Ireland (+0100) or Israel (+0200)",
	"LMT":  "the local mean time of some place",
	"SST":  "Samoa (-1100) or Singapore (+0800)",
	"WAST": "Western Africa (+0200) or Western Australia (+0800)",
	"WST":  "Samoa (+1300) or Western Australia (+0800)",
}

// zoneOf returns the offset that a zone name means, in seconds east of UTC.
func zoneOf(name string) (int, error) {
	upper := strings.ToUpper(name)
	if offset, known := zones[upper]; known {
		return offset, nil
	}
	if len(upper) == 1 && 'A' <= upper[0] && upper[0] <= 'Z' && upper != "J" {
		return 0, nil // RFC 5322 section 4.3: military zones were used with either sign and count as -0000
	}
	if meanings, known := ambiguous[upper]; known {
		return 0, fmt.Errorf("its zone %s is ambiguous: %s; RFC 5322 section 3.3 has an offset in digits", upper, meanings)
	}
	return 0, fmt.Errorf("its zone %.20q is unknown; RFC 5322 section 3.3 has an offset in digits", name)
}
