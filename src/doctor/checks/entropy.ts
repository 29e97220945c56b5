import { readTasks } from '../../sys/tasks.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'

/** From Linux 5.6 on random numbers never block once the pool was filled. */
const neverBlocks = [5, 6] as const
const entropyMin = 100

/** Whether programs wait for random numbers: the kernel's own count on old kernels, and threads of engines that sit in getrandom on any. */
export const entropy: CheckOf<'host'> = {
  name: 'entropy',
  of: 'host',
  look(_, context) {
    const blocked = findBlocked(context)
    if (blocked.length > 0) return blocked
    const { host } = context
    const release = host.text('/proc/sys/kernel/osrelease') ?? ''
    const entropy = Number(host.text('/proc/sys/kernel/random/entropy_avail') ?? Number.NaN)
    if (!isOld(release) || !(entropy < entropyMin)) return []
    const evidence = [`/proc/sys/kernel/random/entropy_avail is ${entropy}, and this is Linux ${release.trim()}`]
    return [makeFinding('ENTROPY_LOW', 'kernel', { evidence })]
  },
}

function isOld(release: string): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? []
  if (major === undefined) return false
  return Number(major) < neverBlocks[0] || (Number(major) === neverBlocks[0] && Number(minor) < neverBlocks[1])
}

function findBlocked({ host, engines }: CheckContext): Finding[] {
  return engines.flatMap(engine => {
    const waiting = readTasks(engine.process.pid, host).filter(isWaiting)
    if (waiting.length === 0) return []
    const evidence = [`${waiting.length} of its threads sleep in getrandom`]
    return [makeFinding('ENTROPY_LOW', describeEngine(engine), { evidence, severity: 'problem' })]
  })
}

function isWaiting({
  state,
  syscall,
  wchan,
}: {
  state: string
  syscall?: string | undefined
  wchan?: string | undefined
}): boolean {
  return state !== 'R' && (syscall === 'getrandom' || /^(wait_for_random|.*getrandom|_?random_read)/.test(wchan ?? ''))
}
