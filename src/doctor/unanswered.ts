/** Pulls that have asked a registry, and wait for its answer: what their engine says of it, or their connections show. */
import type { HostView } from '../sys/host-view.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { type Connection, isWaitedOn, readConnections } from './connections.ts'
import { describeEngine, type FoundEngine } from './engines.ts'
import { type Finding, makeFinding } from './finding.ts'
import { findRegistryPorts } from './registry-ports.ts'

export interface Unanswered {
  readonly unanswered: number
  readonly unansweredMinutes: number
}

/** A connection is made, and the question sent, a moment after its process was started. */
const slackMs = 2000

/** @param evidence what else is seen of them. Other pulls may go on beside it */
export function tellUnanswered(
  engine: FoundEngine,
  { unanswered, unansweredMinutes }: Unanswered,
  evidence: readonly string[],
): Finding {
  const waits = `${unanswered} questions of its pulls to a registry have no answer, or not all of it, the oldest for ${unansweredMinutes} minutes`
  return makeFinding('PULL_UNANSWERED', describeEngine(engine), {
    evidence: [waits, ...evidence],
    facts: { unanswered, unansweredMinutes },
  })
}

/**
 * What pulls of which nothing else is seen wait for.
 * @param ageMs of the oldest of them: what was quiet before is for something else
 * @param evidence what is seen of them
 */
export async function findUnanswered(
  host: HostView,
  engine: FoundEngine,
  { ageMs, evidence }: { readonly ageMs: number; readonly evidence: readonly string[] },
): Promise<Finding | undefined> {
  const connections = await readConnections(host, engine, readProcessTable(host))
  const ports = await findRegistryPorts(host, engine)
  // Where something came after it, that may be all of the answer, and nobody has read it to its end.
  const isAsked = (one: Connection) =>
    isWaitedOn(one) && one.sentMs <= one.idleMs && one.sentMs <= ageMs + slackMs && ports.has(one.remotePort)
  const asked = (connections?.all ?? []).filter(isAsked)
  if (asked.length === 0) return undefined
  const longestMs = Math.max(...asked.map(({ sentMs }) => sentMs))
  const facts = { unanswered: asked.length, unansweredMinutes: Math.floor(longestMs / 60_000) }
  const seen = `on the connections that it or its client has made for them a question was sent ${Math.floor(longestMs / 1000)} s ago, and nothing came or was sent since`
  return { ...tellUnanswered(engine, facts, [seen, ...evidence]), confidence: 'likely' }
}
