package config

import (
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/agent/vault"
)

// file is the shape of stepwatch.yml without the blocks of the subjects.
type file struct {
	Features  []string                 `yaml:"features"`
	Sentences []string                 `yaml:"sentences"`
	Listen    string                   `yaml:"listen"`
	WebConfig string                   `yaml:"web_config"`
	Name      string                   `yaml:"name"`
	Workers   int                      `yaml:"workers"`
	Parallel  int                      `yaml:"parallel"`
	At        map[string]int           `yaml:"parallel_at"`
	Defaults  defaults                 `yaml:"defaults"`
	Hosts     map[string]*written      `yaml:"hosts"`
	State     string                   `yaml:"state"`
	Secrets   map[string]*vault.Source `yaml:"secrets"`
	TLS       tlsSection               `yaml:"tls"`
	Resolver  string                   `yaml:"resolver"`
	ConnectTo map[string]string        `yaml:"connect_to"`
	Evidence  evidenceSection          `yaml:"evidence"`
	Flapping  flappingSection          `yaml:"flapping"`
	Uplink    uplinkSection            `yaml:"uplink"`
	History   historySection           `yaml:"history"`
	Exporters map[string]ast.Node      `yaml:"exporters"`

	Maintenance []silence.WindowSpec `yaml:"maintenance"`
	Probe       *probeSection        `yaml:"probe"`
}

type defaults struct {
	Every   string `yaml:"every"`
	Timeout string `yaml:"timeout"`
	Retries int    `yaml:"retries"`
}

// host is the shape of hosts.NAME without the blocks of the subjects.
type host struct {
	Address string `yaml:"address"`
}

type tlsSection struct {
	CA []string `yaml:"ca"`
}

type probeSection struct {
	Targets []string `yaml:"targets"`
}

type evidenceSection struct {
	Keep int    `yaml:"keep"`
	Age  string `yaml:"age"`
	Size string `yaml:"size"`
}

type flappingSection struct {
	Low  *float64 `yaml:"low"`
	High *float64 `yaml:"high"`
}

type uplinkSection struct {
	References []string `yaml:"references"`
}

// historySection is "off", or a mapping.
type historySection struct {
	off  bool
	Runs string `yaml:"runs"`
	Keep string `yaml:"keep"`
	Size string `yaml:"size"`
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (h *historySection) UnmarshalYAML(node ast.Node) error {
	switch word := node.(type) {
	case *ast.StringNode:
		if word.Value == "off" {
			h.off = true
			return nil
		}
		return &yaml.SyntaxError{Message: fmt.Sprintf("history is %q: write off, or runs, keep and size below it", word.Value), Token: word.GetToken()}
	case *ast.NullNode:
		return nil
	}
	type mapping historySection
	return yaml.NodeToValue(node, (*mapping)(h), yaml.Strict())
}

// written keeps the node of a setting, to be decoded later.
type written struct{ node ast.Node }

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (w *written) UnmarshalYAML(node ast.Node) error {
	w.node = node
	return nil
}
