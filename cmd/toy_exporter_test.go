package cmd

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
)

// An exporter as somebody adds one, for TestAdding: a page with the number of results.

func init() {
	exporters.Builtin.Register("tally", func() exporters.Config { return &tallyConfig{Page: "/tally"} })
}

type tallyConfig struct {
	Page string `yaml:"page"`
}

// Validate implements exporters.Config.
func (c *tallyConfig) Validate() error {
	if c.Page == "" {
		return errors.New("page is empty")
	}
	return nil
}

// New implements exporters.Config.
func (c *tallyConfig) New(exporters.Host) (exporters.Exporter, error) {
	return &tallyExporter{page: c.Page}, nil
}

type tallyExporter struct {
	page  string
	count atomic.Int64
}

// Export implements exporters.Exporter.
func (e *tallyExporter) Export(*result.Result) { e.count.Add(1) }

// Path implements exporters.Endpoint.
func (e *tallyExporter) Path() string { return e.page }

// Handler implements exporters.Endpoint.
func (e *tallyExporter) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, e.count.Load(), "results") })
}
