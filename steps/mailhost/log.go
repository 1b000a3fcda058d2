package mailhost

import (
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/maillog"
)

func init() { steps.RegisterHostSettings("log", func() steps.Block { return new(Log) }) }

// Log says where to read the log of a host's mail server. Exactly one field is set.
type Log struct {
	File    string   `yaml:"file" doc:"path of the current log file; rotated files are found next to it"`
	Journal []string `yaml:"journal" doc:"systemd units, read with journalctl: [postfix@-.service]"`
}

// Validate implements Block.
func (l *Log) Validate(env *steps.Env) {
	if !steps.OneOf(l.File != "", len(l.Journal) > 0) {
		env.Refuse("", "needs exactly one of file or journal")
	}
	l.File = env.File(l.File)
	env.Host.Set(l)
}

// OpenLog returns a host's log with its state directory.
func OpenLog(t *steps.Target, h *steps.Host) (maillog.Log, error) {
	l := steps.PartOf[*Log](h)
	if l == nil {
		return maillog.Log{}, h.Missing("log")
	}
	return maillog.Log{File: l.File, Journal: l.Journal, State: t.StateDir}, nil
}
