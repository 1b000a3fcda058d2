package mailhost

import (
	"context"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/mailqueue"
)

func init() { steps.RegisterHostSettings("queue", func() steps.Block { return new(Queue) }) }

// Queue says where to read the mail queue of a host. Exactly one field is set.
type Queue struct {
	Postfix   string `yaml:"postfix" doc:"configuration directory of a Postfix instance on this machine: /etc/postfix"`
	Showq     string `yaml:"showq" doc:"path of a Postfix showq socket: /var/spool/postfix/public/showq"`
	Exim      string `yaml:"exim" doc:"path or name of the Exim program on this machine: exim4"`
	EximSpool string `yaml:"exim_spool" doc:"spool directory of Exim: /var/spool/exim4"`
	OpenSMTPD string `yaml:"opensmtpd" doc:"path or name of OpenSMTPD's smtpctl on this machine: smtpctl"`
	API       bool   `yaml:"api" doc:"read the queue from the host's API"`
}

// Validate implements Block.
func (q *Queue) Validate(env *steps.Env) {
	if !steps.OneOf(q.Postfix != "", q.Showq != "", q.Exim != "", q.EximSpool != "", q.OpenSMTPD != "", q.API) {
		env.Refuse("", "needs exactly one of postfix, showq, exim, exim_spool, opensmtpd or api")
	}
	if env.After("api"); q.API && steps.PartOf[*httpwire.API](env.Host) == nil {
		env.Refuse("api", "needs hosts.%s.api", env.Host.Name)
	}
	env.Host.Set(q)
}

// ReadQueue reads a host's queue. It keeps the messages with the ids in sought, unless the source is an API.
func ReadQueue(ctx context.Context, w *steps.World, h *steps.Host, sought ...string) (*mailqueue.Queue, error) {
	q, err := readQueue(ctx, w, h, sought...)
	if err == nil {
		err = w.Memory().Take(q.Held()) // until the end of the run
	}
	return q, err
}

func readQueue(ctx context.Context, w *steps.World, h *steps.Host, sought ...string) (*mailqueue.Queue, error) {
	switch source := steps.PartOf[*Queue](h); {
	case source.Postfix != "":
		return mailqueue.Postqueue(ctx, source.Postfix, sought...)
	case source.Showq != "":
		return mailqueue.Showq(ctx, source.Showq, sought...)
	case source.Exim != "":
		return mailqueue.Exim(ctx, source.Exim, sought...)
	case source.EximSpool != "":
		return mailqueue.EximSpool(ctx, source.EximSpool, sought...)
	case source.OpenSMTPD != "":
		return mailqueue.OpenSMTPD(ctx, source.OpenSMTPD, sought...)
	default:
		answer, err := httpwire.AskHost(ctx, w, h, "/queue/stats")
		if err != nil {
			return nil, err
		}
		return mailqueue.ParseAPI(answer.Body)
	}
}
