package steps

import (
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/procfs"
)

func init() { RegisterSettings("limits", func() Block { return &limitsBlock{} }) }

// Limits are the bounds of runs that are no single subject's.
type Limits struct {
	Memory  int64       // bytes of one run; zero means limit.RunMemory
	Nodes   int64       // of the tree of a page; zero means pagetree.NodesLimit
	Message int64       // bytes of a mail message that is read; zero means the limit of the protocol
	All     *limit.Pool // of all runs together; nil means no limit
}

// limitsBlock is the block "limits" of stepwatch.yml.
type limitsBlock struct {
	Memory  string `yaml:"memory" doc:"that one run may hold of what it reads; default: 64 MB"`
	Nodes   uint32 `yaml:"page_nodes" doc:"elements, texts and comments of one page; default: 300000"`
	Message string `yaml:"message" doc:"the largest mail message that is read over IMAP and POP3 (default: 8 MB) and in a Maildir (32 MB)"`
	Total   string `yaml:"total_memory" doc:"that all runs together may hold; default: a quarter of the memory of the machine or cgroup"`
}

// Validate implements Block.
func (b *limitsBlock) Validate(env *Env) {
	known := Limits{Memory: env.Size("memory", b.Memory), Message: env.Size("message", b.Message), Nodes: int64(b.Nodes)}
	one := limit.RunMemory.With(known.Memory).Most
	known.All = limit.NewLazyPool(one, func() int64 { return procfs.Usable() / 4 })
	if total := env.Size("total_memory", b.Total); total > 0 {
		if known.All = limit.NewPool(total); total < one {
			env.Refuse("total_memory", "is less than limits.memory, which is %d bytes", one)
		}
	}
	env.Target.Set(known)
}
