// Package exporters exports results: as a page that Prometheus scrapes, or as the output of a Nagios plugin.
//
// Each destination is one file with its configuration, defaults, validation, registration and code. The core knows the
// destinations only by name, and an exporter knows the agent only by its results and its Stats. The caller reads the
// configuration file, so this package does not depend on its format.
package exporters

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

// Exporter receives the result of every run. Any number of goroutines may call Export at once. Export must not change
// the result, because others read it at the same time. It should return within microseconds: network access belongs in
// the exporter's own goroutine, which Close ends.
//
// The interfaces Endpoint and Closer are optional and found by type assertion.
type Exporter interface {
	Export(*result.Result)
}

// Endpoint is an Exporter that answers HTTP requests (GET and HEAD) instead of sending.
type Endpoint interface {
	Exporter
	Path() string // path of the handler, such as "/metrics"
	Handler() http.Handler
}

// Closer is an Exporter with queued results or resources. Close sends the queued results as long as ctx allows, and
// returns an error for those that are lost. A second Close does nothing and returns nil. Export after Close is allowed
// and has no effect.
type Closer interface {
	Exporter
	Close(ctx context.Context) error
}

// Host is the part of the program that an exporter may use. The zero value is a program without an agent.
type Host struct {
	Stats   func() result.Stats // how the agent keeps its schedule, and which scenarios are loaded; nil without an agent
	Version string              // version of stepwatch from its build; empty if unknown
	Log     *slog.Logger        // nil means no log
}

// log returns the host's logger, or one that discards everything.
func (h Host) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// Config is the configuration of one exporter: a pointer to a struct with the defaults, into which a configuration
// block is decoded.
type Config interface {
	// Validate returns an error that names the first invalid setting. It opens and reads nothing.
	Validate() error
	// New returns the exporter. It is called only after Validate has returned nil.
	New(Host) (Exporter, error)
}

// Registry holds the kinds of exporters by name. The zero value is empty and ready to use. Register must not run while
// another goroutine uses the registry: call it in init functions and at the start of tests.
type Registry struct {
	kinds map[string]func() Config
}

// Builtin holds the exporters of this package. Each file adds its own in init.
var Builtin = new(Registry)

// Register adds a kind. defaults returns a new configuration at each call. Register panics if the name is empty or
// taken, because that is a mistake in the program, not in its input.
func (r *Registry) Register(name string, defaults func() Config) {
	if name == "" {
		panic("exporters: an exporter without a name")
	}
	if _, taken := r.kinds[name]; taken {
		panic(fmt.Sprintf("exporters: the name %q is registered twice", name))
	}
	if r.kinds == nil {
		r.kinds = make(map[string]func() Config)
	}
	r.kinds[name] = defaults
}

// Names returns the names of the kinds in alphabetical order.
func (r *Registry) Names() []string {
	names := make([]string, 0, len(r.kinds))
	for name := range r.kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Configure returns the validated configuration of the exporter called name. decode decodes the block of the
// configuration file into a struct and rejects unknown fields; nil means no block, so the defaults apply. Configure
// opens nothing, so it can check a configuration without running it.
func (r *Registry) Configure(name string, decode func(into any) error) (Config, error) {
	defaults, known := r.kinds[name]
	if !known {
		return nil, fmt.Errorf("there is no exporter %q; there are: %s", name, strings.Join(r.Names(), ", "))
	}
	config := defaults()
	if decode != nil {
		if err := decode(config); err != nil {
			return nil, fmt.Errorf("read the settings of exporter %q: %w", name, err)
		}
	}
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("settings of exporter %q: %w", name, err)
	}
	return config, nil
}
