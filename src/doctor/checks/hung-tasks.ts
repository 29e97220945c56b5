import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'

/** What the kernel writes down of a task that has slept out of reach for two minutes (kernel/hung_task.c), with the seconds since the boot before it, and where it is so built who wrote. */
const complaint =
  /^\[ *(\d+)\.\d+\](?: ?\[ *[TC]\d+\])? INFO: task (.{1,15}):(\d+) blocked for more than (\d+) seconds/gm
/** Of a log that may be many MiB, and of which the newest stands last, no more than is read of any program. */
const readLog = "dmesg | grep 'blocked for more than' | tail -n 1000"
/** An engine, and what it starts for a pull; threads of the journal, for which all others wait. */
const ours =
  /^(dockerd|containerd|podman|crio|buildkitd|buildah|skopeo|exe|docker-|storage-|unpigz|pigz|igzip|gzip|zstd|xz|jbd2|xfsaild|btrfs|kworker)/
/** Older ones may be about what is over. The log has a clock of its own, which goes ahead of the other where that stands still. */
const recentSeconds = 600

/** Whether the kernel has complained of late about tasks that may be those of a pull. Only who may read its log is told. */
export const hungTasks: CheckOf<'host'> = {
  name: 'hung-tasks',
  of: 'host',
  async look(_, { host }) {
    const now = Number(host.text('/proc/uptime')?.split(' ')[0] ?? Number.NaN)
    const log = (await host.tell('sh', ['-c', readLog])) ?? ''
    const tasks = [...log.matchAll(complaint)].flatMap(([, at, name = '', pid, seconds]) =>
      now - Number(at) <= recentSeconds && ours.test(name) ? [{ at: Number(at), name, pid, seconds }] : [],
    )
    if (tasks.length === 0) return []
    const latest = new Map(tasks.map(task => [`${task.name} ${task.pid}`, task]))
    const newest = [...latest].toSorted(([, one], [, other]) => one.at - other.at).slice(-3)
    const evidence = newest.map(([who, { at, seconds }]) => {
      const ago = Math.max(0, Math.round(now - at))
      return `the kernel wrote ${ago} s ago that ${who} had been held for more than ${seconds} s`
    })
    return [makeFinding('HUNG_TASKS', 'kernel', { evidence, facts: { tasks: latest.size } })]
  },
}
