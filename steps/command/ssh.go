package command

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/program"
	"github.com/stepwatch/stepwatch/steps/sshclient"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Sentences that log in to other hosts by SSH. Those of cucumber-nagios 0.8 are in compat_ssh.go.

func init() {
	steps.RegisterArea(steps.Area{Name: "ssh", Title: "SSH", Place: 120})
	steps.RegisterSettings("ssh", func() steps.Block { return new(sshClientSettings) })
	steps.RegisterHostSettings("ssh", func() steps.Block { return new(sshSettings) })
	const login = " The login is set under hosts in stepwatch.yml (ssh). The host's key must be in the known_hosts."
	steps.Register(
		steps.Definition{Area: "ssh", Sentence: "I log in to {host} over SSH",
			Does:     "Logs in to a host and stays logged in: from now on, \"I run\" with double quotes runs there." + login,
			Measures: "Phases dns, connect, login.",
			Example:  `When I log in to "mx1" over SSH`, Func: logInOverSSH},
		steps.Definition{Area: "ssh", Sentence: "on {host} I run {text}",
			Does: "Runs a command on a host, in the user's shell there. It logs in first if needed. The sentences about commands then check the result. " +
				"When the scenario's time is over, stepwatch asks the server to kill the command with its process group; its background processes keep running." + login,
			Measures: "Time of the command, with the login if needed. Phases dns, connect, login, command. Measurement command_exit_status, unless a signal ended it.",
			Example:  `When on "mx1" I run "uptime"`, Func: runOnHost},
		steps.Definition{Area: "ssh", Sentence: "on {host} I run the plugin {text}",
			Does: "Runs a Nagios plugin on a host, with the same arguments, verdict and measurements as `I run the plugin`. The plugin is searched for in the " +
				"plugin directories of the distributions and in $PATH of that host. On Linux, the processes that it started end with the scenario." + login,
			Measures: "Time of the plugin, with the login if needed. Phases dns, connect, login, command. The measurements of `I run the plugin`.",
			Example:  `When on "mx1" I run the plugin "check_disk -w 20% -c 10% -p /"`, Table: steps.Optional, Func: runPluginOnHost},
	)
}

// SSH says how stepwatch logs in to a host.
type SSH struct {
	User     string
	Port     int
	Password string // name of the secret; empty offers none
	Key      string // name of the secret that is a private key; empty offers none
}

// sshSettings is that part of stepwatch.yml.
type sshSettings struct {
	User     string              `yaml:"user" doc:"who logs in"`
	Port     int                 `yaml:"port" doc:"default: 22"`
	Password *steps.SecretSource `yaml:"password" doc:"instead of the key, or beside it"`
	Key      *steps.SecretSource `yaml:"key" doc:"a private key without a passphrase, as ssh-keygen writes it"`
}

// Validate implements Block.
func (s *sshSettings) Validate(env *steps.Env) {
	known := &SSH{User: s.User, Port: cmp.Or(s.Port, 22), Password: env.Secret("password", s.Password), Key: env.Secret("key", s.Key)}
	if s.User == "" {
		env.Refuse("user", "is missing: who logs in")
	}
	if known.Port < 1 || known.Port > 65535 {
		env.Refuse("port", "%d is not a port", s.Port)
	}
	if s.Password == nil && s.Key == nil {
		env.Refuse("", "needs a key or a password")
	}
	env.Host.Set(known)
}

// KnownHosts are the files with the keys of SSH servers; none means those of ssh itself.
type KnownHosts []string

// sshClientSettings is what stepwatch.yml says of all servers.
type sshClientSettings struct {
	KnownHosts []string `yaml:"known_hosts" doc:"keys of SSH servers; default: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts"`
}

// Validate implements Block.
func (s *sshClientSettings) Validate(env *steps.Env) {
	var files KnownHosts
	for _, file := range s.KnownHosts {
		files = append(files, env.File(file))
	}
	env.Target.Set(files)
}

// sshSessions holds the logins of a scenario.
type sshSessions struct {
	open map[string]*sshSession // by the name of the host
	last *sshSession            // where "I run" runs; nil means here

	old oldSSH
}

// sshSession is one login.
type sshSession struct {
	name   string
	client *sshclient.Client
}

// Close closes all logins.
func (s *sshSessions) Close() error {
	var errs []error
	for _, session := range s.open {
		errs = append(errs, session.client.Close())
	}
	return errors.Join(errs...)
}

// keep keeps a login until the scenario ends. It closes an older one of the same name.
func (s *sshSessions) keep(session *sshSession) {
	if s.open == nil {
		s.open = make(map[string]*sshSession)
	}
	if before := s.open[session.name]; before != nil {
		_ = before.client.Close() // it is no longer used
	}
	s.open[session.name] = session
}

// openSSH logs in to a server.
func openSSH(ctx context.Context, w *steps.World, name string, l sshclient.Login) (*sshSession, error) {
	act := "log in to " + name + " over SSH as " + l.User
	conn, err := w.Dial(ctx, l.Address, result.BlameTarget)
	if err != nil {
		return nil, err
	}
	l.KnownHosts = steps.SettingsOf[KnownHosts](w.Target())
	var client *sshclient.Client
	err = w.Timed("login", func() (note string, err error) {
		client, err = sshclient.Open(ctx, conn, l)
		return "", err
	})
	switch {
	case err == nil:
		return &sshSession{name, client}, nil
	case errors.Is(err, sshclient.ErrUnknownHost):
		return nil, steps.Fail(result.ReasonConfig, result.BlameScenario, "%s: %w", act, err)
	case errors.Is(err, sshclient.ErrOtherKey):
		return nil, steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s: %w", act, err)
	case errors.Is(err, sshclient.ErrRefused):
		return nil, steps.Fail(result.ReasonAuth, result.BlameTarget, "%s: %w", act, err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, steps.Fail(result.ReasonConfig, result.BlameScenario, "%s: %w", act, err)
	}
	return nil, steps.FailNet(ctx, err, result.BlameTarget, act)
}

// sessionOn returns the scenario's login to a host of the configuration. It logs in if needed.
func sessionOn(ctx context.Context, w *steps.World, name string) (*sshSession, error) {
	sessions := steps.State[sshSessions](w)
	if session := sessions.open[name]; session != nil {
		return session, nil
	}
	l, err := hostLogin(ctx, w, name)
	if err != nil {
		return nil, err
	}
	session, err := openSSH(ctx, w, name, l)
	if err != nil {
		return nil, err
	}
	sessions.keep(session)
	return session, nil
}

// hostLogin returns the configured login to a host.
func hostLogin(ctx context.Context, w *steps.World, name string) (sshclient.Login, error) {
	host, err := w.Target().Host(name)
	if err != nil {
		return sshclient.Login{}, err
	}
	settings := steps.PartOf[*SSH](host)
	if settings == nil {
		return sshclient.Login{}, host.Missing("ssh")
	}
	l := sshclient.Login{Address: net.JoinHostPort(host.Address, strconv.Itoa(settings.Port)), User: settings.User}
	if settings.Password != "" {
		secret, err := w.Secret(ctx, settings.Password)
		if err != nil {
			return l, err
		}
		l.Password = secret.Reveal()
	}
	if settings.Key != "" {
		secret, err := w.Secret(ctx, settings.Key)
		if err != nil {
			return l, err
		}
		key, err := sshclient.ParseKey([]byte(secret.Reveal() + "\n"))
		if err != nil {
			return l, steps.Fail(result.ReasonConfig, result.BlameScenario, "the key of host %q: %w", name, err)
		}
		l.Keys = []ssh.Signer{key}
	}
	return l, nil
}

func logInOverSSH(ctx context.Context, w *steps.World, a steps.Args) error {
	session, err := sessionOn(ctx, w, a.Text(0))
	if err != nil {
		return err
	}
	steps.State[sshSessions](w).last = session
	w.Note(session.client.Server())
	return nil
}

func runOnHost(ctx context.Context, w *steps.World, a steps.Args) error {
	session, err := sessionOn(ctx, w, a.Text(0))
	if err != nil {
		return err
	}
	return session.run(ctx, w, a.Text(1), false)
}

// run runs a command on the host and records its result with those of local commands.
func (s *sshSession) run(ctx context.Context, w *steps.World, command string, mustSucceed bool) error {
	run := &commandRun{command: command}
	out, err := s.execute(ctx, w, wording.Quote(command), command)
	var full error
	if out != nil {
		full = run.take(w, out)
	}
	if err != nil {
		run.keep(w)
		return err
	}
	if full != nil {
		return full
	}
	return steps.State[bench](w).add(w, run, mustSucceed)
}

// execute runs a command on the host. name is its name in messages.
func (s *sshSession) execute(ctx context.Context, w *steps.World, name, command string) (*program.Output, error) {
	ctx, cancel := lifeline.WithEvidenceTime(ctx)
	defer cancel()
	start := time.Now()
	out, err := s.client.Run(ctx, command)
	took := time.Since(start)
	if out != nil {
		took = out.Duration // without the wait for its background processes
	}
	w.Phase("command", took, "")
	if err == nil {
		return out, nil
	}
	act := fmt.Sprintf("run %s on %s", name, s.name)
	switch {
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), steps.ErrStopped):
		said := "it had printed nothing"
		if out != nil {
			if text := firstLine(w, out.Stdout, out.StdoutCut); text != "" {
				said = "it had printed " + wording.Quote(text)
			}
		}
		return out, steps.Fail(result.ReasonTimeout, result.BlameTarget, "%s: it did not end in time, and the server was asked to kill it after %s; %s", act, took.Round(10*time.Millisecond), said)
	case errors.Is(err, sshclient.ErrNoEnd):
		return out, steps.Fail(result.ReasonDisconnected, result.BlameTarget, "%s: %w", act, err)
	}
	return out, steps.FailNet(ctx, err, result.BlameTarget, act)
}

// strayShare is the time limit for ending a plugin's leftover processes on a host after the scenario.
const strayShare = 3 * time.Second

func runPluginOnHost(ctx context.Context, w *steps.World, a steps.Args) error {
	name, args, err := commandLine(a.Text(1), a.Table)
	if err != nil {
		return err
	}
	if len(steps.State[programs](w).env) > 0 {
		return steps.FailScenario("a secret cannot be passed to a plugin on another host: SSH servers accept no variables by default")
	}
	session, err := sessionOn(ctx, w, a.Text(0))
	if err != nil {
		return err
	}
	var words strings.Builder
	for _, word := range append([]string{name}, args...) {
		words.WriteString(" " + sshclient.Quote(word))
	}
	mark := "STEPWATCH_PROGRAM=" + rand.Text()
	ending := sshclient.Ending(mark)
	// The user's shell may be any, so sh runs the words. The plugin's leftover processes are ended after it exits.
	script := "PATH=" + strings.Join(pluginDirs, ":") + ":$PATH; export PATH; " + mark + words.String() + "; s=$?; (" + ending + ") </dev/null >/dev/null 2>&1 & exit $s"
	name = filepath.Base(name)
	out, err := session.execute(ctx, w, name, "exec /bin/sh -c "+sshclient.Quote(script))
	if out != nil {
		keepOutput(w, name, out)
	}
	if err != nil {
		w.Cleanup(fmt.Sprintf("end the processes that %s left on %s", name, session.name), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, strayShare)
			defer cancel()
			_, err := session.client.Run(ctx, "exec /bin/sh -c "+sshclient.Quote(ending))
			return err
		})
		return err
	}
	return judgePlugin(w, name, out)
}

// noHostBehind refuses a command followed by a host, which a project of cucumber-nagios can write: it would run here, with
// the host as a part of the command.
func noHostBehind(act, line string) error {
	if command, host, found := strings.Cut(line, `" on "`); found && !strings.Contains(command+host, `"`) {
		return steps.FailScenario("%s %q on %q: write it as `on %q %s %q`", act, command, host, host, act, command)
	}
	return nil
}

// readKey reads a private key from a file.
func readKey(path string) (ssh.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, steps.Fail(result.ReasonConfig, result.BlameScenario, "read a key: %w", err)
	}
	key, err := sshclient.ParseKey(text)
	if err != nil {
		return nil, steps.Fail(result.ReasonConfig, result.BlameScenario, "read the key %s: %w", path, err)
	}
	return key, nil
}
