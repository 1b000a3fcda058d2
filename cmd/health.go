package cmd

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// health answers whether an agent serves, and whether it watches. The zero value is one that starts.
type health struct{ stage atomic.Int32 }

// The stages of an agent.
const (
	starting int32 = iota
	ready
	stopping
)

func (h *health) isReady()    { h.stage.CompareAndSwap(starting, ready) }
func (h *health) isStopping() { h.stage.Store(stopping) }

// serve adds the pages. /-/healthy says that the process answers, so that whoever gets no answer restarts it. /-/ready says that
// scenarios are on their schedules and results are taken. /health is the older name of the first.
func (h *health) serve(mux *http.ServeMux) {
	for _, path := range []string{"/-/healthy", "/health"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	}
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		switch h.stage.Load() {
		case ready:
			fmt.Fprintln(w, "ready")
		case stopping:
			http.Error(w, "stopping: no run starts any more, those in progress end", http.StatusServiceUnavailable)
		default:
			http.Error(w, "starting: the scenarios are loaded, and not yet on their schedules", http.StatusServiceUnavailable)
		}
	})
}
