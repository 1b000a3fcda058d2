package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/silence"
)

const maintenance = `
maintenance:
  - name: backups
    scenarios: {owner: [mail, web], tags: "@slow and not @web"}
    when:
      - times: [{start_time: 22:00, end_time: "04:00"}]
        weekdays: [friday:sunday]
        days_of_month: [1:7, -1]
        months: december
        years: 2027
        location: Europe/Berlin
      - {from: 2027-12-24, until: 2027-12-26 12:00}
  - name: everything
    scenarios: {all: true}
    when: [{weekdays: sunday, times: [{start_time: 00:00, end_time: 24:00}]}]
`

func TestMaintenance(t *testing.T) {
	c, err := Parse("stepwatch.yml", []byte(maintenance))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Maintenance) != 2 || c.Maintenance[0].Line != 3 || c.Maintenance[1].Line != 13 {
		t.Fatalf("got %+v", c.Maintenance)
	}
	start, end, ok := c.Maintenance[0].Next(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	if got := start.UTC().String() + " " + end.Sub(start).String(); !ok || got != "2027-12-03 21:00:00 +0000 UTC 6h0m0s" {
		t.Errorf("got %s", got)
	}
	start, end, ok = c.Maintenance[0].Next(time.Date(2027, 12, 20, 0, 0, 0, 0, time.UTC))
	if got := start.UTC().String() + " " + end.Sub(start).String(); !ok || got != "2027-12-24 00:00:00 +0000 UTC 60h0m0s" {
		t.Errorf("got %s", got)
	}
	slow := silence.Subject{Identity: result.Identity{Owner: "mail"}, Tags: []string{"@slow"}}
	quick := silence.Subject{Identity: result.Identity{Owner: "mail"}}
	if !c.Maintenance[0].Selects(slow) || c.Maintenance[0].Selects(quick) || !c.Maintenance[1].Selects(quick) {
		t.Error("the windows select other scenarios")
	}
	if c.Maintenance[0].AssumesUTC() != true || c.Maintenance[1].AssumesUTC() != true {
		t.Error("the times of UTC are not noticed")
	}
}

// TestMaintenancePage holds that the example of docs/maintenance.md is valid, and what the page says about it.
func TestMaintenancePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/maintenance.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(page), "```yaml\n")
	example, _, ended := strings.Cut(example, "```")
	c, err := Parse("stepwatch.yml", []byte(example))
	if err != nil || !found || !ended || len(c.Maintenance) != 3 {
		t.Fatal(c, err)
	}
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) // a Monday
	got := ""
	for _, w := range c.Maintenance {
		start, end, ok := w.Next(now)
		second, last, _ := w.Next(end)
		got += fmt.Sprintf("%s: %s for %s, %s until %s, %v\n", w.Name, start.Format("Mon 2006-01-02 15:04"), end.Sub(start), second.Format("Mon 15:04"), last.Format("Mon 15:04"), ok)
	}
	if want := "backups: Sat 2026-12-05 22:00 for 6h0m0s, Sun 22:00 until Mon 04:00, true\n" +
		"patch day: Tue 2026-12-08 20:00 for 4h0m0s, Tue 20:00 until Wed 00:00, true\n" +
		"move to the new rack: Thu 2026-12-24 22:00 for 6h0m0s, Mon 00:00 until Mon 00:00, true\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestMaintenanceMistakes holds that mistakes have their lines.
func TestMaintenanceMistakes(t *testing.T) {
	for _, test := range [][2]string{
		{"end_time: \"04:00\"", "end_time: \"4:00\""},
		{"friday:sunday", "friday:funday"},
		{"[1:7, -1]", "[1:7, 0]"},
		{"months: december", "month: december"},
		{"years: 2027", "years: {a: b}"},
		{"years: 2027", "years: 2027.5"},
		{"Europe/Berlin", "Europe/Bern"},
		{"until: 2027-12-26 12:00", "until: 2027-12-24"},
		{"@slow and", "slow and"},
		{"owner: [mail, web]", "owners: [mail, web]"},
		{"{all: true}", "{}"},
		{"{all: true}", "all"},
		{"name: everything", "name: backups"},
		{"weekdays: sunday, times", "times"},
	} {
		want := map[string]string{
			"end_time: \"4:00\"":  `stepwatch.yml:6: maintenance[0].when[0].times[0].end_time: "4:00" is not a time of day: write it as "22:00", with two digits each; the end may be "24:00"`,
			"friday:funday":       `stepwatch.yml:7: maintenance[0].when[0].weekdays[0]: "friday:funday" is not a weekday: write "monday", or "monday:friday" for several`,
			"[1:7, 0]":            `stepwatch.yml:8: maintenance[0].when[0].days_of_month[1]: "0" has the day 0: the first day is 1, and the last one -1`,
			"month: december":     `stepwatch.yml:9:9: unknown field "month"`,
			"years: {a: b}":       `stepwatch.yml:10:16: maintenance[0].when[0].years is a mapping, want a list`,
			"years: 2027.5":       `stepwatch.yml:10: maintenance[0].when[0].years[0]: "2027.5" is not a year: write 2027, or "2027:2029" for several`,
			"Europe/Bern":         `stepwatch.yml:11: maintenance[0].when[0].location: "Europe/Bern" is not a name of the time zone database: write it as "Europe/Berlin", "UTC", or "Local" for the zone of this machine`,
			"until: 2027-12-24":   `stepwatch.yml:12: maintenance[0].when[1].until: 2027-12-24 is not after from, 2027-12-24, so the window never occurs`,
			"slow and":            `stepwatch.yml:4: maintenance[0].scenarios.tags: has a mistake: tag expression "slow and not @web": "slow" is neither a tag (@name) nor "and", "or" or "not"`,
			"owners: [mail, web]": `stepwatch.yml:4:17: unknown field "owners"`,
			"{}":                  `stepwatch.yml:14: maintenance[1].scenarios: no scenario is selected: set name, feature, owner, severity, location, file or tags, or all for every scenario`,
			"all":                 `stepwatch.yml:14:16: maintenance[1].scenarios is a text, want a mapping`,
			"name: backups":       `stepwatch.yml:13: maintenance[1].name: "backups" is the name of another window, too: each needs its own`,
			"times":               `stepwatch.yml:15: maintenance[1].when: the window would last ten years or longer, and nobody would hear of an alert: limit it, remove the scenarios, or tag them @manual`,
		}[test[1]]
		source := strings.Replace(maintenance, test[0], test[1], 1)
		if source == maintenance {
			t.Fatalf("%s: not found", test[0])
		}
		_, err := Parse("stepwatch.yml", []byte(source))
		if err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", test[1], err, want)
		}
	}
}
