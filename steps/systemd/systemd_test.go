package systemd

import (
	"errors"
	"testing"
	"time"
)

const timer = "Id=certbot.timer\nLoadState=loaded\nActiveState=active\nSubState=waiting\nResult=success\nStateChangeTimestamp=Sat 2026-11-14 06:00:00 UTC\nUnit=certbot.service\nLastTriggerUSec=Sat 2026-11-21 05:11:12 UTC\n"

func TestParse(t *testing.T) {
	u, err := parse([]byte(timer))
	if err != nil {
		t.Fatal(err)
	}
	want := Unit{Name: "certbot.timer", Load: "loaded", Active: "active", Sub: "waiting", Result: "success", Starts: "certbot.service",
		Since: time.Date(2026, 11, 14, 6, 0, 0, 0, time.UTC), LastTrigger: time.Date(2026, 11, 21, 5, 11, 12, 0, time.UTC)}
	if *u != want {
		t.Errorf("got %+v", u)
	}
	u, err = parse([]byte("Id=x.service\nLoadState=not-found\nActiveState=inactive\nStateChangeTimestamp=\nLastTriggerUSec=n/a\n"))
	if err != nil || u.Exists() || !u.LastTrigger.IsZero() {
		t.Errorf("got %+v, %v", u, err)
	}
	for text, want := range map[string]string{
		"":                 "unknown format of systemctl's answer: it contains no state",
		"Id=x\nLoadState=": "unknown format of systemctl's answer: it contains no state",
		"Id=x\nLoadState=loaded\nActiveState=active\nLastTriggerUSec=yesterday":                   `unknown format of systemctl's answer: LastTriggerUSec is "yesterday"`,
		"Id=x\nLoadState=loaded\nActiveState=active\nLastTriggerUSec=Sat 2026-11-21 05:11:12 CET": `unknown format of systemctl's answer: LastTriggerUSec is "Sat 2026-11-21 05:11:12 CET"`,
	} {
		if _, err := parse([]byte(text)); !errors.Is(err, ErrFormat) || err.Error() != want {
			t.Errorf("%q: got %v", text, err)
		}
	}
	for _, name := range []string{"", "-h", "*", "a b"} {
		if _, err := Show(t.Context(), name); !errors.Is(err, ErrName) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(timer))
	f.Fuzz(func(t *testing.T, output []byte) {
		if u, err := parse(output); err == nil && u.Active == "" {
			t.Errorf("got %+v", u)
		}
	})
}
