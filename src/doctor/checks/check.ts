import type { HostView } from '../../sys/host-view.ts'
import type { Engine } from '../engines.ts'
import type { Finding } from '../finding.ts'

/** What every check may look at. */
export interface CheckContext {
  readonly host: HostView
  readonly engines: readonly Engine[]
  /** What is known of a program on this host by an earlier probe. */
  verdictOf(path: string): Promise<string | undefined>
}

/** Looks at one thing. Never throws for what it cannot see, never changes anything. */
export type Check = (context: CheckContext) => Promise<Finding[]> | Finding[]

export function describeEngine({ kind, process }: Engine): string {
  return `${kind} ${process.pid}`
}
