// Package config is the format of stepwatch.yml: strict decoding, defaults, validation. It fills values of other packages
// and names no exporter and no step: their settings are next to their code and registered there.
//
// Unknown settings, wrong types and missing values are errors with file, line and column. Paths in the file are relative
// to the file. It never contains a password, only the place to find one.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"sort"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/evidence"
	"github.com/stepwatch/stepwatch/agent/history"
	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/agent/target"
	"github.com/stepwatch/stepwatch/steps"
)

// DefaultPath is the path of the configuration if none is given.
const DefaultPath = "stepwatch.yml"

// Config is the checked file with its defaults.
type Config struct {
	Path     string   // as opened; empty for the built-in default
	Features []string // files and directories, relative to the working directory
	Listen   string   // "host:port" of the agent's HTTP server

	// WebConfig is the path of the file with TLS and logins of that server, in the format of the Prometheus exporters; or empty.
	WebConfig string

	// Sentences has more files and directories. Only the sentences that they define (@step) count.
	Sentences []string

	Name     string       // of this agent, to distinguish its test mail
	Limits   agent.Limits // of runs in progress; zero values are the defaults
	Defaults agent.Defaults
	Target   *steps.Target
	Secrets  steps.Secrets
	Evidence evidence.Limits // for the evidence of failed runs
	Probe    *target.List    // the targets that probes may have; nil without probes
	History  *history.Limits // what the agent keeps of all runs; nil for nothing

	Flapping   state.Thresholds
	References []string // "host:port", asked whether the network of this machine works

	Maintenance []*silence.Window // when alerts are not told

	// Files are those that were read besides the file itself, such as the certificates of authorities. What a run reads each
	// time, such as a secret, is not among them.
	Files []string

	// Kept are the settings that Again left as they were, although the file says otherwise. They need a restart.
	Kept []string

	exporters   map[string]ast.Node
	values      map[string]any // what the file says, by setting
	authorities [][]byte
}

// Default returns the configuration without a file.
func Default() *Config {
	c, err := Parse("", nil)
	if err != nil {
		panic("config: the built-in default is invalid: " + err.Error())
	}
	return c
}

// Load reads the file at path. With an empty path it reads DefaultPath, or returns the defaults if that file does not exist.
// Errors name file, line, column and the remedy, and never contain a secret.
func Load(path string) (*Config, error) { return load(path, nil) }

// Again is Load for a program that already runs with a configuration. The settings that need a restart keep their values, and
// Kept names them. A file that was there before must be there.
func Again(path string, before *Config) (*Config, error) { return load(path, before) }

func load(path string, before *Config) (*Config, error) {
	optional := path == ""
	if optional {
		path = DefaultPath
	}
	source, err := readFile(path)
	if optional && errors.Is(err, fs.ErrNotExist) && (before == nil || before.Path == "") {
		path, source, err = "", nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return parse(path, source, before)
}

// Parse reads a configuration from memory. path is for messages and the base of relative paths.
func Parse(path string, source []byte) (*Config, error) { return parse(path, source, nil) }

func parse(path string, source []byte, before *Config) (*Config, error) {
	d, err := decode(path, source)
	if err != nil {
		return nil, err
	}
	return build(d, before)
}

// Differing returns the names of the settings, such as "accounts", of which the two files say something else.
func (c *Config) Differing(before *Config) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.values)) {
		if !reflect.DeepEqual(c.values[name], before.values[name]) {
			names = append(names, name)
		}
	}
	for name := range before.values {
		if _, still := c.values[name]; !still {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// EvidenceDir returns the directory of the evidence.
func (c *Config) EvidenceDir() string { return filepath.Join(c.Target.StateDir, "evidence") }

// Exporters lists the configured exporters, sorted.
func (c *Config) Exporters() []string {
	names := make([]string, 0, len(c.exporters))
	for name := range c.exporters {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// DecodeExporter decodes the block of an exporter into its configuration, strictly. A missing block changes nothing.
func (c *Config) DecodeExporter(name string, into any) error {
	node := c.exporters[name]
	if node == nil {
		return nil
	}
	if err := yaml.NodeToValue(node, into, yaml.Strict()); err != nil {
		return syntaxError(c.Path, "", err)
	}
	return nil
}
