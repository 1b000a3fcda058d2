package state

import (
	"encoding/json"
	"slices"
	"testing"
)

// FuzzRecord holds that no text in the file of states makes the agent fail, whatever happens to the scenario afterwards.
func FuzzRecord(f *testing.F) {
	w := newWorld(&testing.T{}, "a", "b needs=a")
	w.do("a CCOCOCOCOC; b C; quiet b s; b O; b C")
	for _, rec := range w.m.byID {
		text, err := json.Marshal(rec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`{"id":"x","problems":[null,{}],"results":"OWCUX"}`)
	f.Fuzz(func(t *testing.T, text string) {
		rec := new(record)
		if json.Unmarshal([]byte(text), rec) != nil {
			return
		}
		rec.Problems = slices.DeleteFunc(rec.Problems, func(p *problem) bool { return p == nil || p.ID == "" })
		w := newWorld(t, "a", "b needs=a")
		rec.Identity = identity("a")
		rec.ID = rec.Identity.ID()
		w.m.restore(kept{records: []*record{rec}}, w.now)
		w.m.declare(w.decl, true, w.now)
		w.m.output.told = nil
		for _, letter := range "COCOSLWU" {
			w.m.observe(w.of("a", byte(letter), 0), w.now)
			w.m.observe(w.of("b", byte(letter), 0), w.now)
		}
		w.m.tick(w.now)
		if len(rec.Problems) > 100 {
			t.Skip("the text has many alerts")
		}
	})
}
