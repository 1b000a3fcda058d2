package exporters_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/exporters/exporterstest"
)

// discard is a minimal exporter.
type discard struct {
	Level int `json:"level"`
}

func (discard) Export(*result.Result) {}

func (d *discard) Validate() error {
	if d.Level > 9 {
		return errors.New("level: want at most 9")
	}
	return nil
}

func (d *discard) New(exporters.Host) (exporters.Exporter, error) { return d, nil }

func TestConformance(t *testing.T) {
	t.Run("the least exporter", func(t *testing.T) {
		exporterstest.Run(t, func(*testing.T, exporters.Host) exporters.Exporter { return discard{} })
	})
	for _, name := range exporters.Builtin.Names() {
		t.Run(name, func(t *testing.T) {
			exporterstest.Run(t, func(t *testing.T, host exporters.Host) exporters.Exporter {
				config, err := exporters.Builtin.Configure(name, nil)
				if err != nil {
					t.Fatalf("the defaults of %q: %v", name, err)
				}
				e, err := config.New(host)
				if err != nil {
					t.Fatal(err)
				}
				return e
			})
		})
	}
}

// strict decodes like the core: an unknown field is an error.
func strict(block string) func(any) error {
	return func(into any) error {
		d := json.NewDecoder(strings.NewReader(block))
		d.DisallowUnknownFields()
		return d.Decode(into)
	}
}

func TestRegistryConfigure(t *testing.T) {
	r := new(exporters.Registry)
	r.Register("second", func() exporters.Config { return &discard{Level: 1} })
	r.Register("first", func() exporters.Config { return &discard{Level: 3} })
	if got := strings.Join(r.Names(), " "); got != "first second" {
		t.Errorf("Names: want %q, got %q", "first second", got)
	}
	for _, c := range []struct {
		name, block string
		level       int
		err         string
	}{
		{name: "first", level: 3},
		{name: "first", block: `{}`, level: 3},
		{name: "second", block: `{"level": 7}`, level: 7},
		{name: "second", level: 1}, // the change above was to another configuration
		{name: "third", err: `there is no exporter "third"; there are: first, second`},
		{name: "first", block: `{"lever": 1}`, err: `read the settings of exporter "first": json: unknown field "lever"`},
		{name: "first", block: `{"level": 10}`, err: `settings of exporter "first": level: want at most 9`},
	} {
		var decode func(any) error
		if c.block != "" {
			decode = strict(c.block)
		}
		config, err := r.Configure(c.name, decode)
		if message(err) != c.err {
			t.Errorf("Configure(%q, %s): want error %q, got %q", c.name, c.block, c.err, message(err))
			continue
		}
		if err == nil && config.(*discard).Level != c.level {
			t.Errorf("Configure(%q, %s): want level %d, got %+v", c.name, c.block, c.level, config)
		}
	}
}

func TestRegistryPanics(t *testing.T) {
	kind := func() exporters.Config { return new(discard) }
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{""}, "exporters: an exporter without a name"},
		{[]string{"nsca", "nsca"}, `exporters: the name "nsca" is registered twice`},
	} {
		func() {
			defer func() {
				if got := recover(); got != c.want {
					t.Errorf("Register %q: want panic %q, got %v", c.names, c.want, got)
				}
			}()
			r := new(exporters.Registry)
			for _, name := range c.names {
				r.Register(name, kind)
			}
		}()
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
