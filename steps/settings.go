package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Block is a subject's part of stepwatch.yml: a pointer to a struct, a map or a list. Field tags have the name of a setting
// (yaml) and its meaning (doc). It has the defaults until the YAML is decoded over them, strictly.
type Block interface {
	// Validate reports mistakes through env, and stores what the sentences need: with env.Target.Set, or with env.Host.Set
	// for a block of a host. It reads files if an invalid file must be found at the start. It contacts no server.
	Validate(env *Env)
}

// The registered blocks by path: "databases", "tls.clients"; and those under hosts.NAME: "ssh".
var blocks, hostBlocks = make(map[string]func() Block), make(map[string]func() Block)

// RegisterSettings adds a block of stepwatch.yml. A name with a dot is nested: "tls.clients". It is called from init.
// fresh returns a new block with its defaults at each call. It panics if the name is empty or already used, because that
// is a mistake in the program.
func RegisterSettings(name string, fresh func() Block) { registerBlock(blocks, name, fresh) }

// RegisterHostSettings adds a block under hosts.NAME of stepwatch.yml, as RegisterSettings does.
func RegisterHostSettings(name string, fresh func() Block) { registerBlock(hostBlocks, name, fresh) }

func registerBlock(registered map[string]func() Block, name string, fresh func() Block) {
	if name == "" {
		panic("steps: settings without a name")
	}
	if _, taken := registered[name]; taken {
		panic(fmt.Sprintf("steps: the settings %q are registered twice", name))
	}
	registered[name] = fresh
}

// Blocks returns every registered block by its name, with its defaults.
func Blocks() map[string]Block { return made(blocks) }

// HostBlocks returns every registered block of a host by its name, with its defaults.
func HostBlocks() map[string]Block { return made(hostBlocks) }

func made(registered map[string]func() Block) map[string]Block {
	all := make(map[string]Block, len(registered))
	for name, fresh := range registered {
		all[name] = fresh()
	}
	return all
}

// Env is the environment in which a block is validated.
type Env struct {
	Target      *Target  // to be completed; the settings for dialling are already set
	Host        *Host    // the host that the block belongs to, or nil
	Dir         string   // of stepwatch.yml
	Authorities [][]byte // the PEM files of tls.ca

	Report func(setting, message string)       // reports a mistake in the setting at a path such as "databases.records.user"
	Keep   func(name string, source any) error // stores a secret under the name that Secrets knows

	path    string           // of the block
	pending map[string]Block // not yet validated, by their names
}

// Validate validates blocks, in order of their names, each after the blocks that it passes to After.
func (e *Env) Validate(blocks map[string]Block) {
	all := *e
	all.pending = maps.Clone(blocks)
	for _, name := range slices.Sorted(maps.Keys(blocks)) {
		all.After(name)
	}
}

// After validates the sibling block with this name, unless that is done.
func (e *Env) After(name string) {
	block, found := e.pending[name]
	if !found {
		return
	}
	delete(e.pending, name)
	beside := *e
	beside.path = name
	if e.Host != nil {
		beside.path = "hosts." + e.Host.Name + "." + name
	}
	block.Validate(&beside)
}

// Path returns the path of a setting of the block in the file. The empty setting is the block itself, "[0]" the first item
// of a list.
func (e *Env) Path(setting string) string {
	if e.path == "" || setting == "" || strings.HasPrefix(setting, "[") {
		return e.path + setting
	}
	return e.path + "." + setting
}

// Refuse reports a mistake in a setting of the block.
func (e *Env) Refuse(setting, format string, args ...any) {
	e.Report(e.Path(setting), fmt.Sprintf(format, args...))
}

// File resolves the path of a file in a setting, which is relative to stepwatch.yml.
func (e *Env) File(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(e.Dir, path)
}

// Secret returns the name under which Secrets knows the secret of a setting, or "" if source is nil.
func (e *Env) Secret(setting string, source *SecretSource) string {
	if source == nil {
		return ""
	}
	path := e.Path(setting)
	name := SettingSecret(path)
	if err := e.Keep(name, source.source); err != nil {
		e.Report(path, err.Error())
	}
	return name
}

// settingMark begins the names of the secrets of settings. No name under secrets and none in a feature contains it, so no
// scenario can type the password of an account into a page.
const settingMark = "\x00"

// SettingSecret returns the name of the secret at a setting, such as "accounts.alice.password".
func SettingSecret(path string) string { return settingMark + path }

// SecretSetting returns the setting of a secret, as in SettingSecret. found is false for a secret under secrets.
func SecretSetting(name string) (path string, found bool) {
	return strings.CutPrefix(name, settingMark)
}

// HostPort checks a setting of the form host:port.
func (e *Env) HostPort(setting, value string) {
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		e.Refuse(setting, "%q is not a host and port: write it as host:port", value)
	}
}

// Duration parses a setting that is a duration above zero. It returns otherwise if the setting is empty.
func (e *Env) Duration(setting, value string, otherwise time.Duration) time.Duration {
	if value == "" {
		return otherwise
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		e.Refuse(setting, "%q is not a duration above zero: write it as 30s or 5m", value)
	}
	return d
}

// Size parses a setting such as "512 KB" or "10 MB"; the units are powers of 1024. It returns 0 if the setting is empty.
func (e *Env) Size(setting, value string) int64 {
	if value == "" {
		return 0
	}
	var n int64
	var unit string
	if _, err := fmt.Sscanf(value, "%d %s", &n, &unit); err != nil {
		_, _ = fmt.Sscanf(value, "%d%s", &n, &unit) // checked below
	}
	scale, known := map[string]int64{"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[strings.ToUpper(unit)]
	if !known || n <= 0 || n > 1<<40/scale {
		e.Refuse(setting, "%q is not a size: write it as \"512 KB\" or \"10 MB\"", value)
		return 0
	}
	return n * scale
}

// OneOf reports whether exactly one condition is true.
func OneOf(conditions ...bool) bool {
	n := 0
	for _, holds := range conditions {
		if holds {
			n++
		}
	}
	return n == 1
}

// SecretSource is a setting that names the source of a secret. The decoder knows its format.
type SecretSource struct{ source any }

type sourceKey struct{}

// WithSecretSources returns the context in which settings are decoded. fresh returns a pointer to the value that a
// SecretSource is decoded into. Env.Keep gets this value.
func WithSecretSources(ctx context.Context, fresh func() any) context.Context {
	return context.WithValue(ctx, sourceKey{}, fresh)
}

// UnmarshalYAML decodes the setting into a value from the function of WithSecretSources.
func (s *SecretSource) UnmarshalYAML(ctx context.Context, decode func(into any) error) error {
	fresh, ok := ctx.Value(sourceKey{}).(func() any)
	if !ok {
		return errors.New("steps: the source of a secret is decoded outside WithSecretSources")
	}
	s.source = fresh()
	return decode(s.source)
}

// store has one value for each type: the settings of the subjects. A change copies it, so that copies of its owner are
// independent.
type store map[reflect.Type]any

func (s store) with(value any) store {
	changed := maps.Clone(s)
	if changed == nil {
		changed = make(store)
	}
	changed[reflect.TypeOf(value)] = value
	return changed
}

// Set stores the settings of a subject by their type, for SettingsOf, and returns the target. No run may be in progress.
func (t *Target) Set(value any) *Target {
	t.settings = t.settings.with(value)
	return t
}

// SettingsOf returns the settings of type T, or a zero T if there are none.
func SettingsOf[T any](t *Target) T {
	value, _ := t.settings[reflect.TypeFor[T]()].(T)
	return value
}

// Set stores the settings of a part of the host by their type, for PartOf, and returns the host.
func (h *Host) Set(value any) *Host {
	h.parts = h.parts.with(value)
	return h
}

// PartOf returns the settings of type T that a host has, or a zero T if it has none.
func PartOf[T any](h *Host) T {
	value, _ := h.parts[reflect.TypeFor[T]()].(T)
	return value
}

// Setting is one setting of stepwatch.yml.
type Setting struct {
	Path string // "databases.NAME.user", "tls.clients[].hosts"
	Doc  string // its meaning, in one line
}

// Settings lists the settings of every registered block, by path.
func Settings() []Setting {
	var all []Setting
	for name, block := range Blocks() {
		all = append(all, settingsOf(name, reflect.TypeOf(block), "")...)
	}
	for name, block := range HostBlocks() {
		all = append(all, settingsOf("hosts.NAME."+name, reflect.TypeOf(block), "")...)
	}
	slices.SortFunc(all, func(a, b Setting) int { return strings.Compare(a.Path, b.Path) })
	return all
}

func settingsOf(path string, t reflect.Type, doc string) []Setting {
	switch {
	case t.Kind() == reflect.Pointer:
		return settingsOf(path, t.Elem(), doc)
	case t.Kind() == reflect.Map:
		return settingsOf(path+".NAME", t.Elem(), doc)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return settingsOf(path+"[]", t.Elem(), doc)
	case t.Kind() != reflect.Struct || t == reflect.TypeFor[SecretSource]():
		return []Setting{{path, doc}}
	}
	var all []Setting
	for i := range t.NumField() {
		field := t.Field(i)
		if name, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); name != "" && name != "-" {
			all = append(all, settingsOf(path+"."+name, field.Type, field.Tag.Get("doc"))...)
		}
	}
	return all
}
