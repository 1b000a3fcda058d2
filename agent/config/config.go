// Package config is the format of stepwatch.yml: strict decoding, defaults, validation. It fills values of other
// packages and names no exporter and no step: their settings stand beside their code and are registered there.
//
// Unknown settings, wrong types and missing values are errors with file, line and column. Paths in the file are relative
// to the file. No password ever stands in it, only where to find one.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/evidence"
	"github.com/stepwatch/stepwatch/steps"
)

// DefaultPath is where the configuration is looked for when no path is given.
const DefaultPath = "stepwatch.yml"

// Config is the file, checked and with its defaults.
type Config struct {
	Path     string   // as it was opened; empty for the built-in default
	Features []string // files and directories, made relative to the working directory
	Listen   string   // "host:port" of the agent's HTTP server

	// Sentences are more files and directories of which only the sentences count that they define (@step).
	Sentences []string

	Name     string // of this agent, for telling its test mail from another's
	Workers  int
	Defaults agent.Defaults
	Target   *steps.Target
	Secrets  steps.Secrets
	Evidence evidence.Limits // of what failed runs leave to look at

	exporters map[string]ast.Node
}

// Default is the configuration without a file.
func Default() *Config {
	c, err := Parse("", nil)
	if err != nil {
		panic("config: the built-in default is invalid: " + err.Error())
	}
	return c
}

// Load reads the file at path. With an empty path it reads DefaultPath, and gives the defaults when there is no such
// file. Errors name file, line, column and the remedy, and never hold a secret.
func Load(path string) (*Config, error) {
	optional := path == ""
	if optional {
		path = DefaultPath
	}
	source, err := os.ReadFile(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, source)
}

// Parse reads a configuration from memory; path is for messages and for what is relative to it.
func Parse(path string, source []byte) (*Config, error) {
	d, err := decode(path, source)
	if err != nil {
		return nil, err
	}
	return build(d)
}

// EvidenceDir is where the evidence is kept.
func (c *Config) EvidenceDir() string { return filepath.Join(c.Target.StateDir, "evidence") }

// Exporters lists the exporters that the file configures, sorted.
func (c *Config) Exporters() []string {
	names := make([]string, 0, len(c.exporters))
	for name := range c.exporters {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// DecodeExporter reads an exporter's own block into its configuration, strictly. An absent block leaves it as it is.
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
