package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/history"
)

func TestHistory(t *testing.T) {
	for text, want := range map[string]*history.Limits{
		"":               {Runs: 14 * 24 * time.Hour, Keep: 400 * 24 * time.Hour, Size: 2 << 30},
		"history: off\n": nil,
		"history:\n":     {Runs: 14 * 24 * time.Hour, Keep: 400 * 24 * time.Hour, Size: 2 << 30},
		"history: {runs: 2d, keep: 30d, size: 100 MB}\n": {Runs: 48 * time.Hour, Keep: 30 * 24 * time.Hour, Size: 100 << 20},
		"history:\n  runs: 500d\n":                       {Runs: 500 * 24 * time.Hour, Keep: 500 * 24 * time.Hour, Size: 2 << 30},
	} {
		c, err := Parse("stepwatch.yml", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if (c.History == nil) != (want == nil) || want != nil && *c.History != *want {
			t.Errorf("%q: got %+v, want %+v", text, c.History, want)
		}
	}
	for text, want := range map[string]string{
		"history: on\n":                        `stepwatch.yml:1:10: history is "on": write off, or runs, keep and size below it`,
		"history: 7d\n":                        `stepwatch.yml:1:10: history is "7d": write off, or runs, keep and size below it`,
		"history: [1]\n":                       "stepwatch.yml:1:",
		"history:\n  days: 7\n":                `stepwatch.yml:2:3: unknown field "days"`,
		"history: {runs: soon}\n":              `history.runs: "soon" is not a duration of at least an hour: write it as 12h or 14d`,
		"history: {keep: 5m}\n":                `history.keep: "5m" is not a duration of at least an hour`,
		"history: {runs: 30d, keep: 7d}\n":     `history.keep: "7d" is less than history.runs`,
		"history: {size: 1 MB}\n":              `history.size: "1 MB" is less than 16 MB`,
		"history: {size: large}\n":             "history.size",
		"workers: 0\nhistory:\n    keep: 1h\n": `history.keep: "1h" is less than history.runs`,
	} {
		_, err := Parse("stepwatch.yml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
