/** Why a rescue is refused. Nothing has been changed then; `explain` tells what each means, and what to do next. */

export type RefusalCode =
  | 'RESCUE_NOTHING_STUCK'
  | 'RESCUE_NOT_GUILTY'
  | 'RESCUE_GONE'
  | 'RESCUE_PROCESS_CHANGED'
  | 'RESCUE_DENIED'
  | 'RESCUE_TRACED'
  | 'RESCUE_IN_KERNEL'
  | 'RESCUE_ARCHITECTURE'
  | 'RESCUE_OUTPUT_CLOSED'
  | 'RESCUE_PIPE_SHARED'
  | 'RESCUE_CONSUMER_BUSY'
  | 'RESCUE_MOVES'
  | 'RESCUE_NO_LAYER'
  | 'RESCUE_LAYER_DAMAGED'
  | 'RESCUE_LAYER_UNCLEAR'
  | 'RESCUE_POSITION_UNPROVEN'
  | 'RESCUE_PREFIX_DIFFERS'
  | 'RESCUE_WRITER_LOST'

/** Thrown where a rescue cannot be sure. */
export class Refusal extends Error {
  readonly code: RefusalCode
  constructor(code: RefusalCode, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'Refusal'
    this.code = code
  }
}
