package result

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Identity identifies the scenario of a result. Feature, Scenario and Example together are unique among the loaded
// scenarios, stable over restarts, and usable as labels: they contain only what the author wrote.
type Identity struct {
	Feature  string `json:"feature"`            // the feature's name
	Scenario string `json:"scenario"`           // the scenario's name as written, outline placeholders unfilled
	Example  string `json:"example,omitempty"`  // the outline row, "relay=mx1, port=25"; empty outside outlines
	File     string `json:"file"`               // path of the feature file as given
	Line     int    `json:"line"`               // line of the scenario, or of the outline row; starts at 1
	Owner    string `json:"owner,omitempty"`    // @owner, or empty
	Severity string `json:"severity,omitempty"` // @severity, or empty
	Location string `json:"location,omitempty"` // @location, or empty
}

// Key returns the part that identifies the scenario. The rest changes when somebody moves the scenario, or gives it another
// owner.
func (id Identity) Key() Identity {
	return Identity{Feature: id.Feature, Scenario: id.Scenario, Example: id.Example}
}

// String returns the feature and the scenario for people.
func (id Identity) String() string {
	if id.Example != "" {
		return id.Feature + ": " + id.Scenario + " (" + id.Example + ")"
	}
	return id.Feature + ": " + id.Scenario
}

// idDigits is the length of Identity.ID: 48 bits, so two of ten thousand scenarios have the same with a probability of one
// in five million.
const idDigits = 12

// ID returns a short name of the scenario for addresses and files: the first 12 hexadecimal digits of the SHA-256 of
// Feature, Scenario and Example, joined by NUL. It stays the same when the scenario moves within its file or to another one.
func (id Identity) ID() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{id.Feature, id.Scenario, id.Example}, "\x00")))
	return hex.EncodeToString(sum[:])[:idDigits]
}
