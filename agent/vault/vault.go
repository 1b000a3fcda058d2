// Package vault reads secrets from a file, the environment, a systemd credential, or a command's output. It reads a
// secret at every request, so that a rotated password needs no restart, and keeps none.
package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/program"
)

// Source says where one secret is. Exactly one field is set.
type Source struct {
	File       string   `yaml:"file"`       // path, relative to the configuration; one trailing line break is not part of the secret
	Env        string   `yaml:"env"`        // name of an environment variable
	Credential string   `yaml:"credential"` // name of a systemd credential (systemd.exec(5), LoadCredential=)
	Command    []string `yaml:"command"`    // program and arguments, no shell; its standard output
}

// commandTimeout limits a command, even if the caller's context has no deadline.
const commandTimeout = 10 * time.Second

// sizeLimit is the size limit of a secret, in bytes: more than any password or token needs.
const sizeLimit = 64 << 10

// Vault returns secrets by name. It implements steps.Secrets.
type Vault struct {
	dir     string
	mu      sync.RWMutex
	sources map[string]Source
}

// New returns an empty vault. Relative paths start at dir.
func New(dir string) *Vault { return &Vault{dir: dir, sources: make(map[string]Source)} }

// Add adds a secret. It returns an error if the source is invalid, but does not open the source.
func (v *Vault) Add(name string, s Source) error {
	if name == "" || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%q is not a name for a secret: it is empty or contains control characters", name)
	}
	return v.keep(name, s)
}

// AddSetting adds the secret of a setting. name is from steps.SettingSecret, so no scenario can name it.
func (v *Vault) AddSetting(name string, s Source) error { return v.keep(name, s) }

func (v *Vault) keep(name string, s Source) error {
	set := 0
	for _, given := range []bool{s.File != "", s.Env != "", s.Credential != "", len(s.Command) > 0} {
		if given {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("sets %d sources for the secret: set one of file, env, credential and command", set)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sources[name] = s
	return nil
}

// RunsPrograms reports whether a secret is what a program prints.
func (v *Vault) RunsPrograms() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, source := range v.sources {
		if len(source.Command) > 0 {
			return true
		}
	}
	return false
}

// Known returns nil if there is a secret called name, without reading it. Otherwise the error lists the names of the
// secrets.
func (v *Vault) Known(name string) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if _, found := v.sources[name]; found {
		return nil
	}
	known := "it has none"
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(v.sources)), func(name string) bool {
		_, ofSetting := steps.SecretSetting(name)
		return ofSetting
	})
	if len(names) > 0 {
		known = "it has " + strings.Join(names, ", ")
	}
	return fmt.Errorf("no secret %q in stepwatch.yml (%s): add it under secrets", name, known)
}

// Missing returns an error for each secret whose file, variable or credential is not there now, sorted. It runs no program.
func (v *Vault) Missing() []error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var all []error
	for _, name := range slices.Sorted(maps.Keys(v.sources)) {
		s := v.sources[name]
		if len(s.Command) > 0 {
			continue
		}
		if _, err := v.read(context.Background(), s); err != nil {
			shown := "secrets." + name
			if path, ofSetting := steps.SecretSetting(name); ofSetting {
				shown = path
			}
			all = append(all, fmt.Errorf("read the secret %s: %w", shown, err))
		}
	}
	return all
}

// Secret implements steps.Secrets.
func (v *Vault) Secret(ctx context.Context, name string) (steps.Secret, error) {
	v.mu.RLock()
	s, found := v.sources[name]
	v.mu.RUnlock()
	if path, ofSetting := steps.SecretSetting(name); ofSetting {
		name = path // as people know it
	}
	if !found {
		return steps.Secret{}, fmt.Errorf("no secret %q: set %s in stepwatch.yml to a file, env, credential or command", name, name)
	}
	value, err := v.read(ctx, s)
	if err == nil && len(value) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return steps.Secret{}, fmt.Errorf("read the secret %s: %w", name, err)
	}
	return steps.NewSecret(string(value)), nil
}

// Values returns the values of all secrets that can be read, to hide them in a text from outside.
func (v *Vault) Values(ctx context.Context) []string {
	v.mu.RLock()
	sources := maps.Clone(v.sources)
	v.mu.RUnlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		if value, err := v.read(ctx, sources[name]); err == nil && len(value) > 0 { // who needs it says why it cannot be read
			all = append(all, string(value))
		}
	}
	return all
}

func (v *Vault) read(ctx context.Context, s Source) ([]byte, error) {
	switch {
	case s.Env != "":
		value, found := os.LookupEnv(s.Env)
		if !found {
			return nil, fmt.Errorf("the environment has no %s", s.Env)
		}
		return []byte(value), nil
	case s.Credential != "":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, fmt.Errorf("systemd passes no credentials ($CREDENTIALS_DIRECTORY is empty): add LoadCredential=%s:… to the unit", s.Credential)
		}
		return readFile(filepath.Join(dir, filepath.Base(s.Credential)))
	case s.File != "":
		path := s.File
		if !filepath.IsAbs(path) {
			path = filepath.Join(v.dir, path)
		}
		return readFile(path)
	default:
		return run(ctx, s.Command)
	}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	value, err := io.ReadAll(io.LimitReader(f, sizeLimit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(value) > sizeLimit {
		return nil, fmt.Errorf("%s is larger than %d bytes: it is not a password", path, sizeLimit)
	}
	return trim(value), nil
}

// run returns a command's output. Messages do not contain its stderr, which could repeat the secret.
func run(ctx context.Context, command []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	out, err := program.Run(ctx, program.Command{Path: command[0], Args: command[1:], Inherit: true, OutputLimit: sizeLimit})
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("run %s: no answer within %s", command[0], commandTimeout)
	case err != nil:
		return nil, err
	case out.Signal != "":
		return nil, fmt.Errorf("run %s: %s", command[0], out.Signal)
	case out.ExitCode != 0:
		return nil, fmt.Errorf("run %s: exit status %d", command[0], out.ExitCode)
	case out.StdoutCut:
		return nil, fmt.Errorf("run %s: it prints more than %d bytes: it is not a password", command[0], sizeLimit)
	}
	return trim(out.Stdout), nil
}

func trim(value []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(value, []byte("\n")), []byte("\r"))
}
