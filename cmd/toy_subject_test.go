package cmd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// A protocol with settings as somebody adds one, for TestAdding: lamps that answer a signal with the colour that they show.

func init() {
	steps.RegisterSettings("lamps", func() steps.Block { return &lamps{Signal: "who"} })
	steps.RegisterHostSettings("lamp", func() steps.Block { return &lampSettings{Port: 7070} })
	steps.Register(steps.Definition{Area: "lamps", Sentence: "the lamp of {host} shows {colour}",
		Does: "Fails unless the lamp of a host shows this colour.", Example: `Then the lamp of "pier" shows red`, Func: lampShows})
}

// lamps is what stepwatch.yml says of all lamps.
type lamps struct {
	Signal string `yaml:"signal" doc:"what a lamp is asked with; default: who"`
}

// Validate implements steps.Block.
func (l *lamps) Validate(env *steps.Env) {
	if strings.ContainsAny(l.Signal, " \n") {
		env.Refuse("signal", "%q is not one word", l.Signal)
	}
	env.Target.Set(*l)
}

// lampSettings is what stepwatch.yml says of the lamp of a host.
type lampSettings struct {
	Port int                 `yaml:"port" doc:"default: 7070"`
	Key  *steps.SecretSource `yaml:"key" doc:"sent after the signal; default: none is"`
}

// lamp is the lamp of a host.
type lamp struct{ port, key string }

// Validate implements steps.Block.
func (l *lampSettings) Validate(env *steps.Env) {
	if l.Port < 1 || l.Port > 65535 {
		env.Refuse("port", "%d is not a port", l.Port)
	}
	env.Host.Set(&lamp{strconv.Itoa(l.Port), env.Secret("key", l.Key)})
}

func lampShows(ctx context.Context, w *steps.World, a steps.Args) error {
	host, err := w.Target().Host(a.Text(0))
	if err != nil {
		return err
	}
	known := steps.PartOf[*lamp](host)
	if known == nil {
		return host.Missing("lamp")
	}
	question := steps.SettingsOf[lamps](w.Target()).Signal
	if known.key != "" {
		key, err := w.Secret(ctx, known.key)
		if err != nil {
			return err
		}
		question += " " + key.Reveal()
	}
	conn, err := w.Dial(ctx, net.JoinHostPort(host.Address, known.port), result.BlameTarget)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err = fmt.Fprintln(conn, question); err != nil {
		return steps.FailNet(ctx, err, result.BlameTarget, "signal to the lamp of "+host.Name)
	}
	shown, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return steps.FailNet(ctx, err, result.BlameTarget, "read the lamp of "+host.Name)
	}
	if shown = strings.TrimSpace(shown); shown != a.Text(1) {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the lamp of %q shows %s, wanted %s", host.Name, shown, a.Text(1))
	}
	return nil
}
