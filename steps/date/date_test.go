package date

import (
	"strings"
	"testing"
	"time"
)

// TestDates reads the same moment written in many ways, whatever the zone of the machine is.
func TestDates(t *testing.T) {
	own := time.Local
	t.Cleanup(func() { time.Local = own })
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("EST", -5*3600), time.FixedZone("IST", 19800), time.FixedZone("XYZ", 3600)} {
		time.Local = zone
		for _, read := range []struct {
			name string
			date func(string) (time.Time, error)
			same []string
		}{
			{"mail", Mail, mailForms}, {"feed", Feed, append(mailForms, feedForms...)}, {"HTTP", HTTP, append(mailForms, httpForms...)},
		} {
			for _, form := range read.same {
				got, err := read.date(form)
				if err != nil || got.Format(time.RFC3339Nano) != "2026-11-26T07:00:00Z" {
					t.Errorf("in %s, %s date %q is %v, %v, wanted 07:00 UTC on November 26", zone, read.name, form, got, err)
				}
			}
		}
	}
}

var mailForms = []string{
	"Thu, 26 Nov 2026 07:00:00 +0000", "Thu, 26 Nov 2026 07:00:00 -0000", "Thu, 26 Nov 2026 07:00:00 GMT", "Thu, 26 Nov 2026 07:00:00 UT",
	"Thu, 26 Nov 2026 02:00:00 EST", "Thu, 26 Nov 2026 03:00:00 EDT", "Thu, 26 Nov 2026 01:00:00 CST", "Thu, 26 Nov 2026 02:00:00 CDT",
	"Thu, 26 Nov 2026 00:00:00 MST", "Thu, 26 Nov 2026 01:00:00 MDT", "Wed, 25 Nov 2026 23:00:00 PST", "Thu, 26 Nov 2026 00:00:00 PDT",
	"Thu, 26 Nov 2026 08:00:00 CET", "Thu, 26 Nov 2026 09:00:00 CEST", "Thu, 26 Nov 2026 16:00:00 JST", "Thu, 26 Nov 2026 17:00:00 aest",
	"Thu, 26 Nov 2026 07:00:00 Z", "Thu, 26 Nov 2026 07:00:00 a", "Thu, 26 Nov 2026 07:00:00 Y",
	"26 Nov 2026 07:00:00 +0000", "26 Nov 2026 07:00 +0000", "26 Nov 26 07:00 UT", "26 Nov 126 07:00 UT",
	"Thu, 26 Nov 2026 07:00:00 +0000 (UTC)", "Thu, 26 Nov 2026 08:00:00 +0100 (CET)", "Thu, 26 Nov 2026 08:00:00 +0100 CET",
	"Thu (a day), 26 (the \\) day (nested)) Nov 2026 07:00:00 (noon?) GMT",
	"  Thu,\r\n\t26   Nov  2026  07:00:00   GMT  ", "Thu,26 Nov 2026 07:00:00 GMT", "Thursday, 26 November 2026 07:00:00 UTC", "Do, 26 Nov 2026 07:00:00 GMT",
	"Thu, 26 Nov 2026 08:00:00 GMT+0100", "Thu, 26 Nov 2026 08:00:00 UTC+1", "Thu, 26 Nov 2026 02:00:00 -05:00", "Thu, 26 Nov 2026 02:00:00 EST (-0500)",
	"Thu, 26 Nov 2026 12:30:00 +0530", "Thu, 26 Nov 2026 12:45:00 +0545", "Thu, 26 Nov 2026 7:00:00 GMT", "Thu, 26 Nov 2026 02:00:00 \"EST\"",
	"Thu Nov 26 07:00:00 UTC 2026", "Thu Nov 26 02:00:00 EST 2026", "Thu Nov 26 08:00:00 2026 +0100",
}

var feedForms = []string{
	"2026-11-26T07:00:00Z", "2026-11-26t07:00:00z", "2026-11-26T08:00:00+01:00", "2026-11-26T08:00:00.000+01:00", "2026-11-26T08:00+01:00", "2026-11-26T08:00:00+0100",
	"2026-11-26 07:00:00Z", "2026-11-26 02:00:00 -05:00", "2026-11-26T02:00:00EST", "2026-11-26T07:00:00-00:00", " 2026-11-26T07:00Z\n",
}

var httpForms = []string{
	"Thursday, 26-Nov-26 07:00:00 GMT", "Thu, 26-Nov-2026 07:00:00 GMT", "Thu Nov 26 07:00:00 2026", "Thu, 26 Nov 2026 07:00:00", "26-Nov-2026 07:00:00",
}

func TestDayOfFeed(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-26": "2026-11-26T00:00:00Z", "2026-11": "2026-11-01T00:00:00Z", "2026": "2026-01-01T00:00:00Z", "26 Nov 2026": "2026-11-26T00:00:00Z",
		"2026-11-26T07:00:00.25Z": "2026-11-26T07:00:00.25Z", "Thu, 31 Dec 1998 23:59:60 GMT": "1999-01-01T00:00:00Z",
	} {
		if got, err := Feed(text); err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("feed date %q is %v, %v, wanted %s", text, got, err, want)
		}
	}
}

// TestNotADate names what a text lacks, and never guesses a zone.
func TestNotADate(t *testing.T) {
	for _, c := range []struct {
		read       func(string) (time.Time, error)
		text, want string
	}{
		{Mail, "Thu, 26 Nov 2026 07:00:00 IST", "its zone IST is ambiguous: India (+0530), Ireland (+0100) or Israel (+0200); RFC 5322 section 3.3 has an offset in digits"},
		{Feed, "Thu, 26 Nov 2026 07:00:00 BST", "its zone BST is ambiguous: British summer (+0100) or Bangladesh (+0600)"},
		{Mail, "Thu, 26 Nov 2026 07:00:00 XYZT", `its zone "XYZT" is unknown; RFC 5322 section 3.3 has an offset in digits`},
		{Mail, "Thu, 26 Nov 2026 07:00:00 J", `its zone "J" is unknown`},
		{Mail, "Thu, 26 Nov 2026 07:00:00", "it has no zone (RFC 5322 section 3.3)"},
		{Feed, "2026-11-26T07:00:00", "it has no zone (RFC 3339 section 5.6)"},
		{Feed, "Thu, 26 Nov 2026 07:00:00", "it has no zone (RFC 822 section 5.1)"},
		{Mail, "Thu, 26 Nov 2026", "it has no time of day (RFC 5322 section 3.3)"},
		{Mail, "Thu, 31 Nov 2026 07:00:00 GMT", "November 2026 has no day 31"},
		{Feed, "2026-02-29", "February 2026 has no day 29"},
		{Feed, "2026-13-01", "its month is 13"},
		{Mail, "Thu, 26 Dez 2026 07:00:00 GMT", `its month is "Dez" (RFC 5322 section 3.3 has Jan to Dec)`},
		{Mail, "Thu, 26 Nov 2026 25:00:00 GMT", "25:00:00 is not a time of day"},
		{Mail, "Thu, 26 Nov 2026 07:00:00 +0175", `its zone is "+0175"`},
		{Mail, "Thu, 26 Nov 2026 07:00:00 GMT later", `"later" follows its zone`},
		{HTTP, "0", "it has no month"}, {HTTP, "-1", "it has no day"}, {HTTP, "", "it has no day"}, {Feed, "yesterday", "it has no day"}, {Mail, "+", "it has no day"},
		{Mail, strings.Repeat("a", 300), "it is longer than 200 bytes"},
	} {
		if got, err := c.read(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q is %v, %v, wanted the error %s", c.text, got, err, c.want)
		}
	}
}

func TestCentury(t *testing.T) {
	now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]int{"Sunday, 06-Nov-94 08:49:37 GMT": 1994, "Sunday, 06-Nov-76 08:49:37 GMT": 2076, "Sunday, 06-Nov-77 08:49:37 GMT": 1977} {
		if got, err := httpDate(text, now); err != nil || got.Year() != want {
			t.Errorf("%q is %v, %v, wanted the year %d (RFC 9110 section 5.6.7)", text, got, err, want)
		}
	}
}

func TestCookie(t *testing.T) {
	for text, want := range map[string]string{
		"Thu, 26 Nov 2026 07:00:00 GMT": "2026-11-26 07:00:00", "Thu, 26-Nov-26 07:00:00 EST": "2026-11-26 07:00:00", "2026 nov 26 7:0:0": "2026-11-26 07:00:00",
		"26/november/70 07:00:00garbage": "1970-11-26 07:00:00", "07:00:00 26th Nov 69": "2069-11-26 07:00:00", "Nov 26 2026 07:00:00.5": "2026-11-26 07:00:00",
		"26 Nov 1601 00:00:00": "1601-11-26 00:00:00",
		"0":                    "", "": "", "26 Nov 1600 00:00:00": "", "26 Nov 2026 24:00:00": "", "26 Nov 2026 07:00": "", "31 Nov 2026 07:00:00": "", "26 11 2026 07:00:00": "", "26 Nov 20266 07:00:00": "",
	} {
		got, valid := Cookie(text)
		if valid != (want != "") || valid && got.Format(time.DateTime) != want {
			t.Errorf("the cookie date %q is %v, %t, wanted %q", text, got, valid, want)
		}
	}
}

func FuzzDates(f *testing.F) {
	for _, forms := range [][]string{mailForms, feedForms, httpForms} {
		for _, form := range forms {
			f.Add(form)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, read := range []func(string) (time.Time, error){Mail, HTTP, Feed} {
			got, err := read(text)
			if err == nil && got.Location() != time.UTC {
				t.Errorf("%q is %v, not in UTC", text, got)
			}
			if again, err2 := read(text + " "); (err == nil) != (err2 == nil) && len(text) < longest || err == nil && err2 == nil && !again.Equal(got) {
				t.Errorf("%q is %v, %v, with a blank after it %v, %v", text, got, err, again, err2)
			}
		}
		if got, valid := Cookie(text); valid && got.Year() < 1601 {
			t.Errorf("the cookie date %q is %v", text, got)
		}
	})
}
