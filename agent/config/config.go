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
	"path/filepath"
	"sort"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/evidence"
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

	exporters map[string]ast.Node
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
func Load(path string) (*Config, error) {
	optional := path == ""
	if optional {
		path = DefaultPath
	}
	source, err := readFile(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, source)
}

// Parse reads a configuration from memory. path is for messages and the base of relative paths.
func Parse(path string, source []byte) (*Config, error) {
	d, err := decode(path, source)
	if err != nil {
		return nil, err
	}
	return build(d)
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
