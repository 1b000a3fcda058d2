package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/amqp"
	"github.com/stepwatch/stepwatch/steps/lifeline"
)

// Sentences about the queues of a message broker such as RabbitMQ: those of cucumber-nagios, and plainer ones.

func init() {
	steps.RegisterArea(steps.Area{Name: "amqp", Title: "AMQP", Place: 150})
	steps.RegisterHostSettings("amqp", func() steps.Block { return new(brokerSettings) })
	const (
		asks = " It declares the queue passively over AMQP 0-9-1, which changes nothing. Only ready messages count, not those that a consumer has not acknowledged yet. " +
			"User, password and virtual host are under hosts.NAME.amqp in stepwatch.yml. Without them it logs in as RabbitMQ's guest, who may log in only on the broker's own machine."
		measures = "Phases dns, connect, tls, look. Measurements amqp_queue_messages and amqp_queue_consumers."
		old      = " A sentence of cucumber-nagios."
		any      = `^(?:[a-z]+ )?` // the original is not anchored: the step may begin with a word such as "then"
	)
	fewer, least, more := bound{"fewer than", func(got, n int) bool { return got < n }}, bound{"at least", func(got, n int) bool { return got >= n }},
		bound{"more than", func(got, n int) bool { return got > n }}
	exactly := bound{"exactly", func(got, n int) bool { return got == n }}
	most := bound{"at most", func(got, n int) bool { return got <= n }}
	steps.Register(
		steps.Definition{Area: "amqp", Sentence: `I look at the AMQP queue {text} of {server}`,
			Does: "Asks a broker (a host of stepwatch.yml, HOST or HOST:PORT) for the length of a queue and its number of consumers. Fails when the queue does not exist." + asks, Measures: measures,
			Example: `When I look at the AMQP queue "mail.outgoing" of "broker"`, Func: lookAtQueue},
		steps.Definition{Area: "amqp", Sentence: `the queue has fewer than {int} messages`, Does: "Fails when that many messages or more are ready.",
			Example: `Then the queue has fewer than 1000 messages`, Func: judgeMessages(fewer)},
		steps.Definition{Area: "amqp", Sentence: `the queue has fewer than {int} messages per consumer`, Does: "Fails when that many messages or more are ready for each consumer, and when there is no consumer.",
			Example: `Then the queue has fewer than 100 messages per consumer`, Func: messagesPerConsumer},
		steps.Definition{Area: "amqp", Sentence: `the queue has at least {int} messages`, Does: "Fails when fewer messages are ready.",
			Example: `Then the queue has at least 1 messages`, Func: judgeMessages(least)},
		steps.Definition{Area: "amqp", Sentence: `the queue has at least {int} consumers`, Does: "Fails when fewer consumers take messages from it.",
			Example: `Then the queue has at least 2 consumers`, Func: judgeConsumers(least)},
		steps.Definition{Area: "amqp", Sentence: `the queue has at most {int} consumers`, Does: "Fails when more consumers take messages from it.",
			Example: `Then the queue has at most 20 consumers`, Func: judgeConsumers(most)},

		steps.Definition{Area: "amqp", Sentence: `I have a AMQP server on {text}`, Pattern: any + `I have a AMQP server on (\S+)$`,
			Does:    "Sets the broker for the next steps: a host of stepwatch.yml, HOST or HOST:PORT, with or without quotes." + old,
			Example: `Given I have a AMQP server on broker`, Func: haveBroker},
		steps.Definition{Area: "amqp", Sentence: `I want to check on the {word} queue`, Pattern: any + `I want to check on the (\w+) queue$`,
			Does: "Asks the broker for the length of a queue and its number of consumers. Fails when the queue does not exist." + old + asks, Measures: measures,
			Example: `And I want to check on the outgoing queue`, Func: checkOnQueue},
		steps.Definition{Area: "amqp", Sentence: `it should have less than {int} messages per consumer`, Pattern: any + `it should have less than (\d+) messages per consumer$`,
			Does:    "Fails when that many messages or more are ready for each consumer, and when there is no consumer." + old,
			Example: `Then it should have less than 50 messages per consumer`, Func: messagesPerConsumer},
		steps.Definition{Area: "amqp", Sentence: `it should have less than {int} messages`, Pattern: any + `it should have less than (\d+) messages$`,
			Does: "Fails when that many messages or more are ready." + old, Example: `Then it should have less than 400 messages`, Func: judgeMessages(fewer)},
		steps.Definition{Area: "amqp", Sentence: `it should have at least {int} messages`, Pattern: any + `it should have at least (\d+) messages$`,
			Does: "Fails when fewer messages are ready." + old, Example: `Then it should have at least 5 messages`, Func: judgeMessages(least)},
		steps.Definition{Area: "amqp", Sentence: `it should have more than {int} messages`, Pattern: any + `it should have more than (\d+) messages$`,
			Does: "Fails unless more messages are ready." + old, Example: `Then it should have more than 5 messages`, Func: judgeMessages(more)},
		steps.Definition{Area: "amqp", Sentence: `It should have more than {int} consumers`, Pattern: any + `[Ii]t should have more than (\d+) consumers$`,
			Does: "Fails unless the queue has more consumers." + old, Example: `Then It should have more than 1 consumers`, Func: judgeConsumers(more)},
		steps.Definition{Area: "amqp", Sentence: `It should have less than {int} consumers`, Pattern: any + `[Ii]t should have less than (\d+) consumers$`,
			Does: "Fails unless the queue has fewer consumers." + old, Example: `Then It should have less than 5 consumers`, Func: judgeConsumers(fewer)},
		steps.Definition{Area: "amqp", Sentence: `It should have {int} consumers`, Pattern: any + `[Ii]t should have (\d+) consumers$`,
			Does: "Fails unless the queue has exactly that many consumers." + old, Example: `Then It should have 5 consumers`, Func: judgeConsumers(exactly)},
		steps.Definition{Area: "amqp", Sentence: `it should have at least {int} consumers`, Pattern: any + `[Ii]t should have at least (\d+) consumers$`,
			Does: "Fails when the queue has fewer consumers." + old, Example: `Then it should have at least 5 consumers`, Func: judgeConsumers(least)},
	)
}

// Broker is how a host's message broker is asked over AMQP 0-9-1.
type Broker struct {
	Port     string // empty: 5672, or 5671 with TLS
	TLS      bool   // from the first byte, verified
	User     string // empty: guest
	Password string // name of the secret; empty: guest
	Vhost    string // empty: "/"
}

// brokerSettings is that part of stepwatch.yml.
type brokerSettings struct {
	User     string              `yaml:"user" doc:"default: RabbitMQ's guest, who may log in on its own machine only"`
	Password *steps.SecretSource `yaml:"password" doc:"default: guest"`
	Vhost    string              `yaml:"vhost" doc:"the virtual host; default: /"`
	Port     int                 `yaml:"port" doc:"default: 5672, with tls 5671"`
	TLS      bool                `yaml:"tls" doc:"verified, from the first byte; default: false"`
}

// Validate implements Block.
func (s *brokerSettings) Validate(env *steps.Env) {
	known := &Broker{TLS: s.TLS, User: s.User, Vhost: s.Vhost, Password: env.Secret("password", s.Password)}
	if s.Port < 0 || s.Port > 65535 {
		env.Refuse("port", "%d is not a port", s.Port)
	} else if s.Port > 0 {
		known.Port = strconv.Itoa(s.Port)
	}
	env.Host.Set(known)
}

// broker holds what the scenario asked last.
type broker struct {
	server string // as the scenario names it; empty until a step names one
	queue  string // empty until a step asks for one
	read   amqp.Queue
}

func lookAtQueue(ctx context.Context, w *steps.World, a steps.Args) error {
	*steps.State[broker](w) = broker{server: a.Text(1)}
	return readBroker(ctx, w, a.Text(0))
}

func haveBroker(_ context.Context, w *steps.World, a steps.Args) error {
	*steps.State[broker](w) = broker{server: strings.Trim(strings.TrimSpace(a.Text(0)), `"`)}
	return nil
}

func checkOnQueue(ctx context.Context, w *steps.World, a steps.Args) error {
	if steps.State[broker](w).server == "" {
		return steps.FailScenario("no broker has been set yet: write `I have a AMQP server on broker` before this step")
	}
	return readBroker(ctx, w, a.Text(0))
}

// readBroker asks the scenario's broker for a queue.
func readBroker(ctx context.Context, w *steps.World, queue string) error {
	b := steps.State[broker](w)
	b.queue = ""
	act := fmt.Sprintf("look at the AMQP queue %q of %q", queue, b.server)
	host, settings := b.server, &Broker{}
	if h, found := w.Target().Hosts[b.server]; found {
		host = h.Address
		if known := steps.PartOf[*Broker](h); known != nil {
			settings = known
		}
	}
	login := amqp.Login{User: settings.User, Password: "guest", Vhost: settings.Vhost}
	if login.User == "" {
		login.User = "guest"
	}
	if login.Vhost == "" {
		login.Vhost = "/"
	}
	if settings.Password != "" {
		secret, err := w.Secret(ctx, settings.Password)
		if err != nil {
			return err
		}
		login.Password = secret.Reveal()
	}
	address, serverName := host, host
	if name, _, err := net.SplitHostPort(host); err == nil {
		serverName = name
	} else {
		address = net.JoinHostPort(strings.Trim(host, "[]"), settings.port())
	}
	ctx, cancel := lifeline.WithEvidenceTime(ctx)
	defer cancel()
	conn, err := w.Dial(ctx, address, result.BlameTarget)
	if err != nil {
		return err
	}
	if settings.TLS {
		if conn, err = w.Handshake(ctx, conn, serverName, result.BlameTarget); err != nil {
			return err
		}
	}
	var read amqp.Queue
	err = w.Timed("look", func() (note string, err error) {
		read, err = amqp.Look(ctx, conn, login, queue)
		return "", err
	})
	switch {
	case errors.Is(err, amqp.ErrLogin):
		return steps.Fail(result.ReasonAuth, result.BlameTarget, "%s as %q: %w: set hosts.NAME.amqp in stepwatch.yml; guest may log in only on the broker's own machine", act, login.User, err)
	case errors.Is(err, amqp.ErrVhost):
		return steps.Fail(result.ReasonNotFound, result.BlameTarget, "%s in the virtual host %q: %w", act, login.Vhost, err)
	case errors.Is(err, amqp.ErrNoQueue):
		return steps.Fail(result.ReasonNotFound, result.BlameTarget, "%s: %w", act, err)
	case errors.Is(err, amqp.ErrDenied):
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "%s: %w: grant it any right to the queue", act, err)
	case errors.Is(err, amqp.ErrLocked):
		return steps.Fail(result.ReasonRefused, result.BlameTarget, "%s: %w", act, err)
	case errors.Is(err, amqp.ErrProtocol):
		return steps.Fail(result.ReasonProtocol, result.BlameTarget, "%s: %w: check the port, and whether it is one with%s TLS (tls: %t under hosts.NAME.amqp)", act, err,
			map[bool]string{true: "out"}[settings.TLS], !settings.TLS)
	case err != nil:
		return steps.FailNet(ctx, err, result.BlameTarget, act)
	}
	w.Measure("amqp_queue_messages", "Ready messages in the queue.", float64(read.Messages))
	w.Measure("amqp_queue_consumers", "Consumers of the queue.", float64(read.Consumers))
	w.Note(fmt.Sprintf("%d messages, %d consumers", read.Messages, read.Consumers))
	b.queue, b.read = queue, read
	return nil
}

func (b *Broker) port() string {
	switch {
	case b.Port != "":
		return b.Port
	case b.TLS:
		return "5671"
	}
	return "5672"
}

// bound is the comparison of a sentence.
type bound struct {
	word string
	fits func(got, n int) bool
}

// lookedAtQueue returns the queue that was looked at, and the number in the sentence.
func lookedAtQueue(w *steps.World, a steps.Args) (*broker, int, error) {
	b := steps.State[broker](w)
	if b.queue == "" {
		return nil, 0, steps.FailScenario("no step has looked at a queue yet: write `I look at the AMQP queue \"mail.outgoing\" of \"broker\"` before this step")
	}
	n, err := a.Int(0)
	return b, n, err
}

func judgeMessages(c bound) func(context.Context, *steps.World, steps.Args) error {
	return judgeLook(c, "messages", func(q amqp.Queue) int { return q.Messages })
}

func judgeConsumers(c bound) func(context.Context, *steps.World, steps.Args) error {
	return judgeLook(c, "consumers", func(q amqp.Queue) int { return q.Consumers })
}

func judgeLook(c bound, of string, count func(amqp.Queue) int) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, a steps.Args) error {
		b, n, err := lookedAtQueue(w, a)
		if err != nil {
			return err
		}
		if got := count(b.read); !c.fits(got, n) {
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the queue %q of %q has %d %s, wanted %s %d", b.queue, b.server, got, of, c.word, n)
		}
		return nil
	}
}

func messagesPerConsumer(_ context.Context, w *steps.World, a steps.Args) error {
	b, n, err := lookedAtQueue(w, a)
	if err != nil {
		return err
	}
	if b.read.Consumers == 0 {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the queue %q of %q has %d messages and no consumer, wanted fewer than %d messages per consumer: check that the consumers run",
			b.queue, b.server, b.read.Messages, n)
	}
	if each := float64(b.read.Messages) / float64(b.read.Consumers); each >= float64(n) {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the queue %q of %q has %s messages per consumer (%d for %d), wanted fewer than %d", b.queue, b.server,
			strconv.FormatFloat(each, 'f', 1, 64), b.read.Messages, b.read.Consumers, n)
	}
	return nil
}
