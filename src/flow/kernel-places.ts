/** Kernel functions in which tasks of a pull are known to sleep (`/proc/PID/wchan`), and what each of them tells. What stands here for nobody is unknown, and is said so. */

type KernelPlaceKind = 'frozen-filesystem' | 'permission' | 'memory' | 'server' | 'freezer' | 'disk'

export interface KernelPlace {
  readonly kind: KernelPlaceKind
  /** Half a sentence, after "it waits". */
  readonly waitsFor: string
  /** True if tasks sleep there for nothing else. */
  readonly isSure: boolean
}

const places: readonly (readonly [RegExp, KernelPlace])[] = [
  [
    /^(_*sb_start_write|thaw_super)/,
    { kind: 'frozen-filesystem', waitsFor: 'for its filesystem, which is frozen (fsfreeze)', isSure: true },
  ],
  // The same lock guards control groups while tasks are moved, and the hot-plugging of processors, for milliseconds each.
  [
    /^(percpu_rwsem_wait|__percpu_down_read)/,
    { kind: 'frozen-filesystem', waitsFor: 'as whoever writes to a frozen filesystem does (fsfreeze)', isSure: false },
  ],
  [
    /^fanotify_(get_response|handle_event)/,
    { kind: 'permission', waitsFor: 'for the permission of a security agent (fanotify)', isSure: true },
  ],
  [/^(_*mem_cgroup_|try_charge)/, { kind: 'memory', waitsFor: 'for memory of its control group', isSure: true }],
  [
    /^(_*refrigerator|cgroup_.*freez|do_freezer_trap)/,
    { kind: 'freezer', waitsFor: 'until its control group is thawed', isSure: true },
  ],
  [
    /^(request_wait_answer|_*fuse_)/,
    { kind: 'server', waitsFor: 'for the program behind a FUSE filesystem', isSure: true },
  ],
  [
    /^(nfs|rpc_|cifs_|smb2?_|wait_for_response|ceph_|p9_)/,
    { kind: 'server', waitsFor: 'for the server of a network filesystem', isSure: true },
  ],
  [
    /^(jbd2_|wait_transaction_locked|add_transaction_credits|do_get_write_access|ext4_|xlog_|xfs_|btrfs_|f2fs_)/,
    { kind: 'disk', waitsFor: 'for its filesystem: its journal, or others that wait for the disk', isSure: false },
  ],
  [
    /^(io_schedule|folio_wait_|wait_on_page_|bit_wait_io|_*wait_on_buffer|submit_bio_wait|blk_|blkdev_|rq_qos_wait|balance_dirty|_*iomap_dio|dio_|wb_wait_for_completion|sync_inodes_sb)/,
    { kind: 'disk', waitsFor: 'for the disk', isSure: true },
  ],
]

/** @returns undefined where nothing is known of it */
export function findKernelPlace(wchan: string | undefined): KernelPlace | undefined {
  return wchan === undefined ? undefined : places.find(([pattern]) => pattern.test(wchan))?.[1]
}
