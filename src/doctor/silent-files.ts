/** Files that did not answer: what they would have told is missing in what is said. */
import type { HostView } from '../sys/host-view.ts'
import { type Finding, makeFinding } from './finding.ts'

const namedMax = 3

export function findSilentFiles({ disk }: HostView): Finding[] {
  const { silent, unasked } = disk
  // A record tells of nothing but directories with images, which have a check of their own.
  if (unasked === undefined || silent.size + unasked.size === 0) return []
  const evidence = [
    ...[...silent].slice(0, namedMax).map(path => `${path} did not answer in time`),
    ...(silent.size > namedMax ? [`${silent.size - namedMax} others did not, either`] : []),
    ...(unasked.size > 0 ? [`${unasked.size} were not asked any more, for want of these answers`] : []),
  ]
  return [makeFinding('FILES_UNANSWERED', '', { evidence, facts: { silent: silent.size, unasked: unasked.size } })]
}
