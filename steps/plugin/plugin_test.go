package plugin

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// shown formats an output on one line.
func shown(o *Output) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q", o.Line, o.Text)
	for _, v := range o.Perfdata {
		n, unit := v.Base()
		warn, crit := v.Limits()
		fmt.Fprintf(&b, " %s=%v%s;%v;%v;%v;%v", v.Label, n, unit, warn, crit, v.Min, v.Max)
	}
	if len(o.Unread) > 0 {
		fmt.Fprintf(&b, " unread %q", o.Unread)
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for name, test := range map[string]struct{ stdout, want string }{
		"nothing":     {"", `"" ""`},
		"a line":      {"DISK OK\n", `"DISK OK" ""`},
		"perfdata":    {"PING OK - 0% lost | rta=0.5ms;100;500;0 pl=20%;20;60;0;100\n", `"PING OK - 0% lost" "" rta=0.0005seconds;0.1;0.5;0;NaN pl=0.2ratio;0.2;0.6;0;100`},
		"quoted":      {"OK | '/var/log mail'=5MB;80;90;0;100 'it''s'=1c\n", `"OK" "" /var/log mail=5.24288e+06bytes;8.388608e+07;9.437184e+07;0;100 it's=1total;NaN;NaN;NaN;NaN`},
		"ranges":      {"OK | a=1;@5:10;~:20 b=2;10:;:\n", `"OK" "" a=1;NaN;20;NaN;NaN b=2;NaN;NaN;NaN;NaN`},
		"many lines":  {"OK | a=1\nmore\nand more | b=2\nc=3 d=4\n", "\"OK\" \"more\\nand more\" a=1;NaN;NaN;NaN;NaN b=2;NaN;NaN;NaN;NaN c=3;NaN;NaN;NaN;NaN d=4;NaN;NaN;NaN;NaN"},
		"broken":      {"OK | a b=U c== 'd=1 =5 e=1e999 f=0x10\n", `"OK" "" unread ["a" "b=U" "c==" "'d=1 =5 e=1e999 f=0x10"]`},
		"comma":       {"OK | time=0,25s\n", `"OK" "" time=0.25seconds;NaN;NaN;NaN;NaN`},
		"other units": {"OK | power=20W temp=-3.5C\n", `"OK" "" power=20;NaN;NaN;NaN;NaN temp=-3.5;NaN;NaN;NaN;NaN`},
		"CRLF":        {"OK | a=1\r\nmore\r\n", `"OK" "more" a=1;NaN;NaN;NaN;NaN`},
	} {
		if got := shown(Parse(test.stdout)); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, test.want)
		}
	}
	if o := Parse("OK |" + strings.Repeat(" a=1", 1000)); len(o.Perfdata) != maxValues || len(o.Unread) != 800 {
		t.Errorf("a flood: %d values, %d unread", len(o.Perfdata), len(o.Unread))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("PING OK - 0% lost | rta=0.5ms;100;500;0 'a b'=20%;20;60;0;100\nmore | x=1\ny=2")
	f.Fuzz(func(t *testing.T, stdout string) {
		for _, v := range Parse(stdout).Perfdata {
			if math.IsNaN(v.Value) {
				t.Errorf("%q: no number", v.Label)
			}
		}
	})
}
