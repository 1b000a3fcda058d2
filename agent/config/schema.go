package config

import (
	"github.com/goccy/go-yaml/ast"

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
	Exporters map[string]ast.Node      `yaml:"exporters"`
	Probe     *probeSection            `yaml:"probe"`
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

// written keeps the node of a setting, to be decoded later.
type written struct{ node ast.Node }

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (w *written) UnmarshalYAML(node ast.Node) error {
	w.node = node
	return nil
}
