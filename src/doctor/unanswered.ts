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

interface Pulls {
  /** The engine is the command that pulls, and has connections for nothing else. */
  readonly isCommand?: boolean
  /** Of the oldest: what was quiet before is for something else. */
  readonly ageMs: number
  /** What is seen of them. */
  readonly evidence: readonly string[]
}

/** What pulls of which nothing else is seen wait for. */
export async function findUnanswered(
  host: HostView,
  engine: FoundEngine,
  { isCommand = false, ageMs, evidence }: Pulls,
): Promise<Finding | undefined> {
  const table = readProcessTable(host)
  const connections = await readConnections(host, engine, table)
  const ports = findRegistryPorts(host, table)
  // Where something came after it, that may be all of the answer, and nobody has read it to its end.
  const isAsked = (one: Connection) =>
    isWaitedOn(one) &&
    one.sentMs <= one.idleMs &&
    one.sentMs <= ageMs + slackMs &&
    (isCommand || ports.has(one.remotePort))
  const asked = (connections?.all ?? []).filter(isAsked)
  if (asked.length === 0) return undefined
  const longestMs = Math.max(...asked.map(({ sentMs }) => sentMs))
  const facts = { unanswered: asked.length, unansweredMinutes: Math.floor(longestMs / 60_000) }
  const seen = `on the connections that it or its client has made for them a question was sent ${Math.floor(longestMs / 1000)} s ago, and nothing came or was sent since`
  return { ...tellUnanswered(engine, facts, [seen, ...evidence]), confidence: 'likely' }
}
