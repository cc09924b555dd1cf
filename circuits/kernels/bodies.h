/* All bodies and the table made of them. Include after a lanes header, with PML_TABLE defined as
 * the name of the table. */
#include <stdlib.h>

#include "ext5.h"

#include "body_field.h"

#include "body_contract.h"
#include "body_ntt.h"
#include "body_product.h"

#include "body_logup.h"
#include "body_open.h"

const pml_table PML_TABLE = {
    .lanes = VW,
    .bb_mul = bb_mul,
    .e5_mul = e5_mul_many,
    .eq_step = eq_step,
    .contract_i32 = contract_i32,
    .contract_i8 = contract_i8,
    .contract_ext = contract_ext,
    .encode_tasks = encode_tasks,
    .encode_task = encode_task,
    .encode_group = encode_group,
    .encode_join = encode_join,
    .provers =
        {
            .bind = bind,
            .bind_base = bind_base,
            .product_sums = product_sums,
            .product_sums_base = product_sums_base,
            .inner_base = inner_base,
            .blocks_from_words = blocks_from_words,
            .words_from_blocks = words_from_blocks,
            .leaves = logup_leaves,
            .join = logup_join,
            .join_leaves = logup_join_leaves,
            .mix = logup_mix,
            .mix_leaves = logup_mix_leaves,
            .logup_sums = logup_sums,
            .logup_sums_leaves = logup_sums_leaves,
            .eq_prepend = eq_prepend,
            .add_scaled = add_scaled,
            .scale = scale,
            .lift = lift,
            .blend = blend,
            .blend_sums = blend_sums,
            .inner = inner,
            .sum_rows = sum_rows,
            .fold_rows = fold_rows,
        },
};
