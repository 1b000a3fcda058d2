package cmd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// lintFormats maps the values of --format to their writers.
var lintFormats = map[string]func(w io.Writer, s *set, findings []finding) error{
	"text":   lintText,
	"json":   lintJSON,
	"sarif":  lintSARIF,
	"github": lintGitHub,
}

// lintRules describes every rule of a finding, for code hosts that show the rules.
var lintRules = []struct {
	id      features.Rule
	summary string
	usual   severity
}{
	{features.RuleFile, "The path is not a readable feature file.", mistaken},
	{features.RuleSyntax, "The line is not allowed here: the file is not valid Gherkin.", mistaken},
	{features.RuleKeyword, "A keyword is misspelled, so its line has another meaning.", mistaken},
	{features.RuleNothing, "A feature, rule or scenario would run nothing.", mistaken},
	{features.RuleOutline, "An outline has no examples, so nothing fills in its placeholders or nothing of it runs.", warned},
	{features.RuleSlip, "A placeholder is not filled in, or a column occurs twice.", mistaken},
	{features.RuleUnused, "A placeholder has no column, or a column has no placeholder.", warned},
	{features.RuleTag, "A tag is invalid or resembles another, or has no effect.", warned},
	{features.RuleNeeds, "@needs names no scenario, or one that cannot explain a failure.", mistaken},
	{features.RuleName, "A feature or scenario has no unique name that identifies its results.", warned},
	{steps.RuleUndefined, "No sentence matches the step.", mistaken},
	{steps.RuleAmbiguous, "Several sentences match the step.", mistaken},
	{steps.RuleArgument, "A step has a table or doc string that its sentence does not take, or lacks one.", mistaken},
	{steps.RuleUnknown, "An account, host or secret is not in stepwatch.yml.", mistaken},
	{steps.RuleMissingFile, "A step names a file that does not exist.", mistaken},
	{steps.RuleValue, "A step has an invalid value.", mistaken},
	{steps.RuleSentence, "A sentence made of others has a mistake, or gets a value that it does not take.", mistaken},
	{ruleUnusedSentence, "No scenario uses the sentence.", note},
	{rulePassword, "A feature contains a password.", warned},
	{ruleRuby, "A Ruby file of Cucumber has code that does not run, or that a sentence replaces.", warned},
	{ruleTime, "Intervals, deadlines, waits and budgets contradict each other.", warned},
	{ruleBrowser, "A setting has no effect on scenarios tagged @browser.", warned},
	{ruleMaintenance, "A maintenance window selects nothing, is over, or may mean another time zone.", note},
}

// sources has the lines of the files with findings, to compute where a finding ends.
type sources map[string][]string

// line returns a line of a file, from 1, or "" if it cannot be read.
func (s sources) line(path string, number int) string {
	lines, known := s[path]
	if !known {
		content, err := os.ReadFile(path)
		if err == nil {
			lines = strings.Split(strings.TrimPrefix(string(content), "\ufeff"), "\n")
		}
		s[path] = lines // a deleted file has no lines
	}
	if number < 1 || number > len(lines) {
		return ""
	}
	return strings.TrimRightFunc(lines[number-1], unicode.IsSpace)
}

// end returns the column after a finding, in characters. A tag or a cell ends where it does, everything else with its line.
func (s sources) end(f finding) int {
	line := []rune(s.line(f.Path, f.Line))
	start := f.Column - 1
	if start < 0 || start >= len(line) {
		return f.Column
	}
	rest := line[start:]
	switch {
	case rest[0] == '@':
		if blank := slices.IndexFunc(rest, unicode.IsSpace); blank > 0 {
			rest = rest[:blank]
		}
	case strings.HasPrefix(strings.TrimSpace(string(line)), "|"):
		if bar := slices.Index(rest, '|'); bar > 0 {
			rest = []rune(strings.TrimSpace(string(rest[:bar])))
		}
	}
	return f.Column + len(rest)
}

// jsonFinding is a finding in the JSON of lint, documented in docs/authoring.md.
type jsonFinding struct {
	File      string        `json:"file"`
	Line      int           `json:"line,omitempty"`
	Column    int           `json:"column,omitempty"`
	EndColumn int           `json:"end_column,omitempty"`
	Severity  severity      `json:"severity"`
	Rule      features.Rule `json:"rule"`
	Message   string        `json:"message"`
}

func lintJSON(w io.Writer, _ *set, findings []finding) error {
	files := sources{}
	all := make([]jsonFinding, len(findings))
	for i, f := range findings {
		all[i] = jsonFinding{f.Path, f.Line, f.Column, files.end(f), f.severity, f.Rule, f.Message}
	}
	return indented(w, all)
}

// lintGitHub writes workflow commands, which GitHub shows at their lines.
func lintGitHub(w io.Writer, _ *set, findings []finding) error {
	files := sources{}
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for _, f := range findings {
		at := ""
		if f.Path != "" {
			at = ",file=" + property.Replace(filepath.ToSlash(f.Path))
		}
		if f.Line > 0 {
			at += fmt.Sprintf(",line=%d,col=%d,endColumn=%d", f.Line, f.Column, files.end(f))
		}
		command := string(f.severity)
		if f.severity == note {
			command = "notice"
		}
		if _, err := fmt.Fprintf(w, "::%s title=stepwatch %s%s::%s\n", command, f.Rule, at, data.Replace(f.Message)); err != nil {
			return err
		}
	}
	return nil
}

func indented(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// The parts of SARIF 2.1.0 (OASIS, 2020) that lint writes, under their names in the standard.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool                `json:"tool"`
		ColumnKind string                   `json:"columnKind"`
		Bases      map[string]sarifArtifact `json:"originalUriBaseIds"`
		Results    []sarifResult            `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		About   string      `json:"informationUri"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      features.Rule `json:"id"`
		Summary sarifText     `json:"shortDescription"`
		Default sarifLevel    `json:"defaultConfiguration"`
	}
	sarifLevel struct {
		Level severity `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID       features.Rule     `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        severity          `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI         string     `json:"uri,omitempty"`
		Base        string     `json:"uriBaseId,omitempty"`
		Description *sarifText `json:"description,omitempty"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
		EndColumn   int `json:"endColumn"`
	}
)

// sarifRoot names the base of relative URIs. The log does not contain its place on this machine: code hosts know their
// own copy.
const sarifRoot = "SRCROOT"

// lintSARIF writes a log for code hosts. A finding keeps its fingerprint when lines are inserted above it.
func lintSARIF(w io.Writer, _ *set, findings []finding) error {
	files := sources{}
	run := sarifRun{
		Tool: sarifTool{sarifDriver{Name: "stepwatch", Version: version(), About: "https://github.com/stepwatch/stepwatch"}},
		// As in the parser. Editors that count UTF-16 code units differ only after characters beyond U+FFFF.
		ColumnKind: "unicodeCodePoints",
		Bases:      map[string]sarifArtifact{sarifRoot: {Description: &sarifText{"The working directory of stepwatch."}}},
		Results:    make([]sarifResult, 0, len(findings)),
	}
	index := make(map[features.Rule]int, len(lintRules))
	for i, r := range lintRules {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{r.id, sarifText{r.summary}, sarifLevel{r.usual}})
		index[r.id] = i
	}
	seen := map[string]int{}
	for _, f := range findings {
		result := sarifResult{RuleID: f.Rule, RuleIndex: index[f.Rule], Level: f.severity, Message: sarifText{f.Message}, Locations: []sarifLocation{}}
		if f.Path != "" {
			location := sarifPhysical{Artifact: artifactAt(f.Path)}
			if f.Line > 0 {
				location.Region = &sarifRegion{f.Line, f.Column, files.end(f)}
			}
			result.Locations = append(result.Locations, sarifLocation{location})
			line := features.HidePassword(strings.TrimSpace(files.line(f.Path, f.Line)))
			sum := sha256.Sum256([]byte(f.Path + "\x00" + string(f.Rule) + "\x00" + line))
			print := hex.EncodeToString(sum[:8])
			seen[print]++
			// GitHub looks for this name.
			result.Fingerprints = map[string]string{"primaryLocationLineHash": fmt.Sprintf("%s:%d", print, seen[print])}
		}
		run.Results = append(run.Results, result)
	}
	return indented(w, sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

// artifactAt returns the URI of a file, relative if the file is in the working directory.
func artifactAt(path string) sarifArtifact {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return sarifArtifact{URI: (&url.URL{Path: filepath.ToSlash(path)}).String()}
	}
	if working, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(working, absolute); err == nil && filepath.IsLocal(relative) {
			return sarifArtifact{URI: (&url.URL{Path: filepath.ToSlash(relative)}).String(), Base: sarifRoot}
		}
	}
	return sarifArtifact{URI: (&url.URL{Scheme: "file", Path: filepath.ToSlash(absolute)}).String()}
}
