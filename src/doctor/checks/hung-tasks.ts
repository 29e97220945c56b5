import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'

/** An engine, and what it starts for a pull; threads of the journal, for which all others wait. */
const ours =
  'dockerd|containerd|podman|crio|buildkitd|buildah|skopeo|exe|docker-|storage-|unpigz|pigz|igzip|gzip|zstd|xz|jbd2|xfsaild|btrfs|kworker'
/**
 * What the kernel writes down of a task that has slept out of reach for two minutes (kernel/hung_task.c), with the seconds since the boot before it, and where it is so built who wrote.
 * For grep -E, too.
 */
export const hungTask = `^\\[ *([0-9]+)\\.[0-9]+\\]( ?\\[ *[TC][0-9]+\\])? INFO: task (${ours})(.{0,15}):([0-9]+) blocked for more than ([0-9]+) seconds`
/**
 * Of a log that may be many MiB, and of which the newest stands last, no more than is read of any program. Before it stands the time since the boot without that in which the machine was
 * suspended: so does the log count, and /proc/uptime does not.
 */
export const kernelLog =
  "sed -n '/^now at/{p;q;}' /proc/timer_list; dmesg | grep 'blocked for more than' | tail -n 1000"
/** Older ones may be about what is over. */
const recentSeconds = 600
/** The log's clock is the processor's own, which nobody sets right: as far as it was measured badly at the boot. */
const driftMax = 100e-6

/** Whether the kernel has complained of late about tasks that may be those of a pull. Only who may read its log is told. */
export const hungTasks: CheckOf<'host'> = {
  name: 'hung-tasks',
  of: 'host',
  async look(_, { host }) {
    const log = (await host.tell('sh', ['-c', kernelLog])) ?? ''
    const [, awake] = /^now at (\d+) nsecs$/m.exec(log) ?? []
    const now = awake === undefined ? Number(host.text('/proc/uptime')?.split(' ')[0]) : Number(awake) / 1e9
    const tasks = [...log.matchAll(new RegExp(hungTask, 'gm'))].flatMap(([, at, , name, rest, pid, seconds]) =>
      now - Number(at) <= recentSeconds + now * driftMax
        ? [{ at: Number(at), name: `${name}${rest}`, pid, seconds }]
        : [],
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
